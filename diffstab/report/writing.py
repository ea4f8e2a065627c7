"""Pages and their figures, written beside what else is in their folder."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Set
from pathlib import Path

from diffstab.errors import ResultsError
from diffstab.report.document import Document
from diffstab.report.page_json import page_json
from diffstab.results import write_atomically

MANIFEST = ".written.json"
"""File of a page's folder that lists what was written into it: only that may be replaced or removed."""
_OUR_PAGE = b'<p class="brand">diffstab'
"""A part of every page, by which the folders without a list are known."""


def replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder in the place of those that were written before; anything else in it stays.

    All files are complete in a hidden folder before the first one takes its place, `index.html` last; if writing
    fails, the old ones stay.

    Args:
        folder: The folder to make or renew; its parent exists.
        files: Contents by path below the folder.

    Raises:
        ResultsError: The files cannot be written, or one would take the place of a file that was not written here.
    """
    before = _written(folder)
    _refuse_strangers(folder, files, before)
    new = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.new")
    # The list goes first: a file that is there is on it, whenever this is killed.
    listed = {MANIFEST: json.dumps(sorted({*before, *files})).encode(), **files}
    try:
        for name, content in listed.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(content)
        for name in sorted(listed, key=lambda name: (name != MANIFEST, name == "index.html")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).replace(folder / name)
        for name in before - set(files):
            (folder / name).unlink(missing_ok=True)
        write_atomically(folder / MANIFEST, json.dumps(sorted(files)).encode())
    except (OSError, ResultsError) as error:
        raise ResultsError(
            f"{folder} cannot be written ({error}). Free space there, or copy the results to a folder of your own."
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _written(folder: Path) -> set[str]:
    """Return the files that an earlier page wrote into the folder and that are there, by path below it."""
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        listed = []
    names = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    # A list that leads out of the folder is not one that was written here.
    return {name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}


def _refuse_strangers(folder: Path, files: Mapping[str, bytes], before: Set[str]) -> None:
    """Refuse to write over what somebody else put there."""
    strangers = [name for name in files if name not in before and os.path.lexists(folder / name)]
    if strangers and ((folder / MANIFEST).exists() or not _is_our_page(folder / "index.html")):
        message = f"{folder / strangers[0]} would be written over, but is no file of an earlier report."
        raise ResultsError(f"{message} Move or rename it, then start again.")


def _is_our_page(path: Path) -> bool:
    try:
        return _OUR_PAGE in path.read_bytes()
    except OSError:
        return False


def write_page(folder: Path, document: Document) -> Path:
    """Write ``report/index.html`` of a results folder, what it says as ``page.json``, and the files of its pictures.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder cannot be written to; the old report stays then.
    """
    target = folder / "report"
    files = {"index.html": document.html().encode(), "page.json": page_json(document, target).encode()}
    for picture in (picture for part in document.sections for picture in part.pictures):
        files[f"figures/{picture.stem}.png"] = picture.rendered.png
        files[f"figures/{picture.stem}.pdf"] = picture.rendered.pdf
    replace_files(target, files)
    return target / "index.html"
