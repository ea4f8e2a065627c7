"""The report of a results folder: one HTML page and its figures, written whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import yaml

from diffstab.errors import ResultsError
from diffstab.reporting import sections, tables
from diffstab.reporting.document import Section, page_html
from diffstab.reporting.pictures import file_stem
from diffstab.reporting.provenance import cautions, provenance, subtitle
from diffstab.reporting.writing import replace_folder
from diffstab.results import read_records

_GRID = {"n_train": "n_train", "seeds": "seed", "methods": "method"}
"""Keys of a configuration that span the grid of runs, and the columns they fill."""


def write_report(folder: str | Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.png|pdf`` of a results folder.

    The page needs no other file and no network. It is built beside the old report and takes its place when it is
    complete; a report that fails leaves the old one. A folder of learning curves on the sphere, of forces or of
    plateaus gets its own page.

    Args:
        folder: Results folder with ``records/*.parquet`` and, optionally, ``config.yaml`` and ``examples.npz``.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder has no readable records, its examples are damaged, or it cannot be written to.
    """
    folder = Path(folder)
    source, config = read_config(folder / "config.yaml")
    if "dimensions" in config:
        from diffstab.reporting.sphere.page import write_sphere_report

        return write_sphere_report(folder)
    if "snapshots" in config:
        from diffstab.reporting.l2.forces import write_forces_report

        return write_forces_report(folder)
    records = read_records(folder)
    if "kind" in records and set(records["kind"]) == {"plateau"}:
        from diffstab.reporting.l2.plateau import write_plateau_report

        return write_plateau_report(folder)
    frame = tables.tidy_records(records)
    grid = {name: _axis(config.get(key)) for key, name in _GRID.items()}
    absent = tables.missing_cells(frame, grid=grid)
    parts = _parts(frame)
    stacks = _examples(folder / "examples.npz")
    parts += [sections.examples(stacks)] if stacks else []
    parts += [sections.missing(absent)] if len(absent) else []
    parts.append(provenance(frame, config=source))
    notes = cautions(frame, records=len(records), absent=len(absent))
    return write_page(folder, subtitle(frame), parts=parts, notes=notes)


def write_page(folder: Path, line: str, *, parts: Sequence[Section], notes: Sequence[str]) -> Path:
    """Write the sections as ``report/index.html`` of a results folder, with the files of their pictures.

    Args:
        folder: Results folder, whose name heads the page.
        line: Shown below the heading.
        parts: Sections in order.
        notes: Cautions shown at the top.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder cannot be written to; the old report stays then.
    """
    html = page_html(folder.resolve().name, line, sections=parts, notes=notes)
    pictures = [picture for part in parts for picture in part.pictures]
    files = {f"figures/{picture.stem}.png": picture.rendered.png for picture in pictures}
    files |= {f"figures/{picture.stem}.pdf": picture.rendered.pdf for picture in pictures}
    replace_folder(folder / "report", {"index.html": html.encode("utf-8"), **files})
    return folder / "report" / "index.html"


def _parts(frame: pd.DataFrame) -> list[Section]:
    """What the numbers say, then the figures and tables of each data set."""
    parts = [sections.findings(frame)]
    for dataset, data in frame.groupby("dataset", sort=True):
        prefix = file_stem(str(dataset))
        inner = [
            sections.performance(data, prefix=prefix),
            sections.stability(data, prefix=prefix),
            sections.sparsity(data, prefix=prefix),
            sections.training(data),
        ]
        parts += [sections.data_set(data), *(part for part in inner if part is not None)]
    return parts


def read_config(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The text of the configuration and its top level; empty where there is none."""
    if not path.exists():
        return "", {}
    text = path.read_text(encoding="utf-8")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ResultsError(
            f"{path} is not YAML ({error}). Restore it, or remove it to report without."
        ) from error
    return text, config if isinstance(config, Mapping) else {}


def _axis(values: object) -> list[str | int]:
    """The values of one axis of the grid: those of a list, the keys of a mapping; empty for anything else."""
    listed = list(values) if isinstance(values, list | tuple | Mapping) else []
    return listed if all(isinstance(value, str | int) for value in listed) else []


def _examples(path: Path) -> dict[str, np.ndarray]:
    """The arrays of example images; empty where there are none."""
    if not path.exists():
        return {}
    names = ("images", "deformed", "noisy", "delta_px")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ResultsError(
            f"{path} does not hold the arrays {', '.join(names)} ({error}). Write it again, or remove it to "
            "report without examples."
        ) from error
