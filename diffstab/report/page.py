"""The report of a results folder: one HTML page and its figures, written whole or not at all."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report import sections, tables
from diffstab.report.document import Section
from diffstab.report.pictures import file_stem
from diffstab.report.provenance import cautions, provenance, subtitle
from diffstab.report.swept import swept_options, told_apart
from diffstab.report.writing import read_config, write_page
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
        from diffstab.report.sphere.page import write_sphere_report

        return write_sphere_report(folder)
    if "snapshots" in config:
        from diffstab.report.l2.forces import write_forces_report

        return write_forces_report(folder)
    records = read_records(folder)
    if "kind" in records and set(records["kind"]) == {"plateau"}:
        from diffstab.report.l2.plateau import write_plateau_report

        return write_plateau_report(folder)
    frame = tables.tidy_records(told_apart(records, folder))
    grid = {name: _axis(config.get(key)) for key, name in _GRID.items()}
    absent = tables.missing_cells(frame, grid=grid, more_seeds=_more_seeds(config.get("more_seeds")))
    if swept_options(records, folder):
        # A sweep need not be a product of its axes: its own status says what is missing.
        absent = absent.head(0)
    parts = _parts(frame)
    stacks = read_examples(folder / "examples.npz")
    parts += [sections.examples(stacks)] if stacks else []
    parts += [sections.missing(absent)] if len(absent) else []
    parts.append(provenance(frame, config=source))
    notes = cautions(frame, records=len(records), absent=len(absent))
    return write_page(folder, subtitle(frame), parts=parts, notes=notes)


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


def _axis(values: object) -> list[str | int]:
    """The values of one axis of the grid: those of a list, the keys of a mapping; empty for anything else."""
    listed = list(values) if isinstance(values, list | tuple | Mapping) else []
    return listed if all(isinstance(value, str | int) for value in listed) else []


def _more_seeds(values: object) -> dict[int, list[int]]:
    """Further seeds by size, as far as the configuration can be read so."""
    if not isinstance(values, Mapping):
        return {}
    seeds = {size: _axis(listed) for size, listed in values.items() if str(size).isdigit()}
    return {int(size): [seed for seed in listed if isinstance(seed, int)] for size, listed in seeds.items()}


def read_examples(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of example images.

    Args:
        path: File as written by `diffstab compare`.

    Returns:
        Arrays images, deformed and noisy, (k, C, H, W), and delta_px; empty where there is no file.

    Raises:
        ResultsError: The file is damaged.
    """
    if not path.exists():
        return {}
    names = ("images", "deformed", "noisy", "delta_px")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = {name: stored[name] for name in names}
        _check_examples(found)
        return found
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ResultsError(
            f"{path} does not hold the arrays {', '.join(names)} ({error}). Write it again, or remove it to "
            "report without examples."
        ) from error


def _check_examples(found: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless there are images in stacks of one shape, with a displacement for all or for each."""
    shape = found["images"].shape
    if len(shape) != 4 or 0 in shape or not all(found[name].shape == shape for name in ("deformed", "noisy")):
        shapes = ", ".join(f"{name} {found[name].shape}" for name in ("images", "deformed", "noisy"))
        raise ValueError(f"of one shape (k, C, H, W): {shapes}")
    if found["delta_px"].size not in (1, shape[0]):
        raise ValueError(f"delta_px has {found['delta_px'].size} values for {shape[0]} images")
    for name, values in found.items():
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{name} holds no numbers")
