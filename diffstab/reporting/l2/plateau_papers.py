"""Single figures of a folder of plateaus for a paper, and the source's claims beside what was measured."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from diffstab.reporting.l2.plateau_claims import Claim, claims
from diffstab.reporting.l2.plateau_pictures import case_pictures
from diffstab.reporting.l2.plateau_runs import Start, cases, plateau_frame, run_settings, starts
from diffstab.reporting.papers import write_figure
from diffstab.reporting.writing import read_config
from diffstab.results import read_records, write_atomically


def write_plateaus(folder: str | Path) -> list[Path]:
    """Write ``figures/<data>-n<size>-loss.png`` and ``.pdf``, and so for norm, error and rank, of a results folder.

    Args:
        folder: Results folder as written by `diffstab plateau`.

    Returns:
        The paths; none for data whose runs found no net.

    Raises:
        ResultsError: There are no records, or the files cannot be written.
    """
    written = []
    settings, listed = _read(folder)
    for _, part, found in listed:
        for picture in case_pictures(part, found, settings) if found else []:
            written += write_figure(folder, picture.stem, picture.rendered)
    return written


def write_claims(folder: str | Path) -> Path:
    """Write ``claims.csv``: what the source says about each data set beside what was measured.

    Args:
        folder: Results folder as written by `diffstab plateau`.

    Returns:
        Its path.

    Raises:
        ResultsError: There are no records, or the file cannot be written.
    """
    settings, listed = _read(folder)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["data", *Claim._fields])
    for title, part, found in listed:
        lines.writerows([title, *row] for row in claims(part, found, settings))
    return write_atomically(Path(folder) / "claims.csv", text.getvalue().encode("utf-8"))


def _read(folder: str | Path) -> tuple[dict[str, Any], list[tuple[str, pd.DataFrame, list[Start]]]]:
    """Return the settings of a folder, and (title, records, plateaus) of each data set and size."""
    frame = plateau_frame(read_records(folder))
    settings = run_settings(frame, read_config(Path(folder) / "config.yaml")[1])
    tolerance = float(settings["plateau_tolerance"])
    return settings, [(title, part, starts(part, tolerance=tolerance)) for title, part in cases(frame)]
