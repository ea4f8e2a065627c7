"""Pages and their figures: folders that are written whole or not at all, and the configuration beside them."""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from diffstab.errors import ResultsError
from diffstab.reporting.document import Section, page_html
from diffstab.results import parse_yaml


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder and put it in the place of an old one.

    The new folder is complete before the old one moves; if writing fails, the old one stays.

    Args:
        folder: The folder to make or replace; its parent exists.
        files: Contents by path below the folder.

    Raises:
        ResultsError: The files cannot be written.
    """
    mark = uuid.uuid4().hex[:8]
    new, old = (folder.with_name(f".{folder.name}-{mark}.{state}") for state in ("new", "old"))
    try:
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _swap(new, folder, old)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise ResultsError(
            f"{folder} cannot be written ({error}). Free space there, or copy the results to a folder of your own."
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Move a folder to `old` and a new one to its place; move it back if the second step fails."""
    if not folder.exists():
        new.replace(folder)
        return
    folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        old.replace(folder)
        raise


def write_page(
    folder: Path, line: str, *, parts: Sequence[Section], notes: Sequence[str], title: str = ""
) -> Path:
    """Write the sections as ``report/index.html`` of a results folder, with the files of their pictures.

    Args:
        folder: Results folder.
        line: Shown below the heading.
        parts: Sections in order.
        notes: Cautions shown at the top.
        title: Heads the page; the folder's name does where it is empty.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder cannot be written to; the old report stays then.
    """
    html = page_html(title or folder.resolve().name, line, sections=parts, notes=notes)
    pictures = [picture for part in parts for picture in part.pictures]
    files = {f"figures/{picture.stem}.png": picture.rendered.png for picture in pictures}
    files |= {f"figures/{picture.stem}.pdf": picture.rendered.pdf for picture in pictures}
    replace_folder(folder / "report", {"index.html": html.encode("utf-8"), **files})
    return folder / "report" / "index.html"


def read_config(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The text of the configuration and its top level; empty where there is none."""
    if not path.exists():
        return "", {}
    try:
        data = path.read_bytes()
        config = parse_yaml(data)
    except (OSError, yaml.YAMLError) as error:
        raise ResultsError(
            f"{path} is not YAML ({error}). Restore it, or remove it to report without."
        ) from error
    return data.decode(), config if isinstance(config, Mapping) else {}
