"""The pages: a YAML file for each kind of experiment, with a module of the same name; new ones are found by themselves.

A YAML file with the `kind` of another page and no topic of its own adds its figures to that page.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.catalogue import NamedFigure
from diffstab.report.document import Picture
from diffstab.report.outline import Page, read_page
from diffstab.report.runs import Runs, kind_of, read_config, told_apart
from diffstab.results import parse_yaml, read_records


@lru_cache(maxsize=1)
def _pages() -> dict[str, Page]:
    paths = sorted(path for folder in __path__ for path in Path(folder).glob("*.yaml"))
    kinds = {path: str(parse_yaml(path.read_bytes())["kind"]) for path in paths}
    read = [read_page(path, importlib.import_module(f"{__name__}.{kinds[path]}")) for path in paths]
    found = {page.kind: page for page in read if page.topic}
    for page in read:
        if not page.topic:
            found[page.kind] = replace(found[page.kind], figures={**found[page.kind].figures, **page.figures})
    return found


def page_of(kind: str) -> Page:
    """Return the page of a kind of experiment; one that has none of its own shows its columns."""
    from diffstab.report.pages.generic import generic_page

    return _pages().get(kind) or generic_page(kind)


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read the records of results folders of one kind, at least one, and make them ready for its page.

    Returns:
        The runs; swept options are part of the names of methods and data sets.

    Raises:
        ResultsError: A folder has no readable records, or they are of several kinds.
    """
    found, frames = [], []
    for folder in folders:
        records = read_records(folder)
        kind, (source, config) = kind_of(records), read_config(folder / "config.yaml")
        name = str(records["dataset"].iloc[0]) if "dataset" in records else folder.name
        frames.append(page_of(kind).code.prepare(told_apart(records, folder), config))
        found.append(Runs(kind, frames[-1], (folder,), {folder: name}, source, len(records)))
    if len({runs.kind for runs in found}) > 1:
        listed = ", ".join(f"{runs.folders[0].name}: {runs.kind}" for runs in found)
        raise ResultsError(f"The folders hold records of several experiments ({listed}). Give those of one.")
    return found[0]._replace(
        frame=frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True),
        folders=tuple(folders),
        names={folder: name for runs in found for folder, name in runs.names.items()},
        recorded=sum(runs.recorded for runs in found),
    )


def run_pictures(kind: str, records: pd.DataFrame, folder: Path) -> dict[str, Picture]:
    """Draw what can be seen of single runs, as soon as they are recorded.

    Args:
        kind: Of the experiment.
        records: Records of a batch of runs.
        folder: Results folder, for the files beside the records.

    Returns:
        Pictures by the names of their figures, the second one of a figure as name_2; none for a kind without a page
        of its own.

    Raises:
        ResultsError: A file beside the records is damaged.
    """
    if kind not in _pages():
        return {}
    page = _pages()[kind]
    name = str(records["dataset"].iloc[0]) if "dataset" in records else ""
    runs = Runs(kind, page.code.prepare(records, {}), (folder,), {folder: name}, recorded=len(records))
    return {
        name if number == 1 else f"{name}_{number}": picture
        for name, figure in page.figures.items()
        if figure.of_a_run
        for number, picture in enumerate(figure.pictures(runs), start=1)
    }


def figures() -> dict[str, tuple[Page, NamedFigure]]:
    """Return every figure of every page by its name.

    Raises:
        ArgumentError: If two pages have a figure of one name: a figure is asked for by its name alone.
    """
    found: dict[str, tuple[Page, NamedFigure]] = {}
    for page in _pages().values():
        if twice := sorted(found.keys() & page.figures.keys()):
            pages = f"{found[twice[0]][0].kind} and {page.kind}"
            raise ArgumentError(f"Figure {twice[0]}", "stand on one page", f"the pages of {pages}")
        found |= {name: (page, figure) for name, figure in page.figures.items()}
    return found
