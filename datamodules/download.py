"""Fetch a data set of torchvision so that a broken download is never taken for a good one."""

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from diffstab.errors import DataError


def download(dataset: Callable[..., object], *, root: Path, subfolder: str, by_hand: str) -> None:
    """Download into a scratch folder, check there, and only then move the files to their place.

    Args:
        dataset: Data set class of torchvision; called as `dataset(folder, download=True)`, it downloads,
            verifies checksums and reads.
        root: Folder of the data sets; made when missing.
        subfolder: Where the class puts its files, relative to the folder that it is given.
        by_hand: How to place the files by hand, for the error message.

    Raises:
        DataError: The download failed; nothing of it is left.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix=".download-") as scratch:
            dataset(scratch, download=True)
            target = root / subfolder
            target.mkdir(parents=True, exist_ok=True)
            for file in (Path(scratch) / subfolder).iterdir():
                file.replace(target / file.name)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[-1]
        what = f"{subfolder} is missing and could not be downloaded: {reason}"
        raise DataError(what, root.resolve(), by_hand) from error
