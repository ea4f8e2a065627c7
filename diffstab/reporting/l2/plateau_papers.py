"""Single figures of a folder of plateaus for a paper, and the source's claims beside what was measured."""

import csv
import io
from pathlib import Path

from diffstab.reporting.l2 import plateau_pictures as pictures
from diffstab.reporting.l2.plateau_claims import Claim, claims
from diffstab.reporting.l2.plateau_runs import cases, plateau_frame, run_settings, starts
from diffstab.reporting.page import read_config
from diffstab.reporting.papers import write_figure
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
    folder, drawn = Path(folder), []
    frame = plateau_frame(read_records(folder))
    settings = run_settings(frame, read_config(folder / "config.yaml")[1])
    tolerance = float(settings["plateau_tolerance"])
    for _, part in cases(frame):
        if found := starts(part, tolerance=tolerance):
            drawn.append(pictures.loss_picture(part, found, tolerance=tolerance))
            drawn.append(pictures.norm_picture(part, interpolation=bool(settings.get("interpolation"))))
            drawn += [pictures.error_picture(part), pictures.rank_picture(part)]
    kept = [picture for picture in drawn if picture is not None]
    return [path for picture in kept for path in write_figure(folder, picture.stem, picture.rendered)]


def write_claims(folder: str | Path) -> Path:
    """Write ``claims.csv``: what the source says about each data set beside what was measured.

    Args:
        folder: Results folder as written by `diffstab plateau`.

    Returns:
        Its path.

    Raises:
        ResultsError: There are no records, or the file cannot be written.
    """
    folder = Path(folder)
    frame = plateau_frame(read_records(folder))
    settings = run_settings(frame, read_config(folder / "config.yaml")[1])
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["data", *Claim._fields])
    for title, part in cases(frame):
        found = starts(part, tolerance=float(settings["plateau_tolerance"]))
        lines.writerows([title, *row] for row in claims(part, found, settings))
    return write_atomically(folder / "claims.csv", text.getvalue().encode("utf-8"))
