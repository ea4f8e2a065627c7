"""Single figures of a results folder, laid out for a paper: a column of panels per data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diffstab.errors import ResultsError
from diffstab.reporting.figures import curve, neurons_before_after
from diffstab.reporting.pictures import recorded_neurons
from diffstab.reporting.rendering import Rendered, render
from diffstab.reporting.style import Look, looks, plain
from diffstab.reporting.tables import is_recorded, tidy_records
from diffstab.results import read_records, write_atomically


def write_curves(
    folder: str | Path, *, quantities: Sequence[str], name: str, across: bool = False
) -> list[Path]:
    """Write ``figures/<name>.png`` and ``.pdf``: a row of panels per quantity, a column per data set.

    Args:
        folder: Results folder.
        quantities: Columns to draw against n_train; one that no record has gets no row.
        name: File name without ending.
        across: Quantities in columns and data sets in rows instead.

    Returns:
        The two paths.

    Raises:
        ResultsError: No record has any of the quantities, or the files cannot be written.
    """
    frame = tidy_records(read_records(folder))
    kept = [quantity for quantity in quantities if is_recorded(frame, quantity)]
    if not kept:
        raise ResultsError(
            f"No record of {folder} has {' or '.join(quantities)}. Run a comparison that measures it."
        )
    parts = [part for _, part in frame.groupby("dataset", sort=True)]
    shape, shown = (len(kept), len(parts)), looks(frame["method"])

    def draw(axes: np.ndarray) -> None:
        for row, quantity in zip(axes.T if across else axes, kept):
            for ax, part in zip(row, parts):
                _panel(ax, part, quantity, shown)

    rows, columns = shape[::-1] if across else shape
    size = (4.6 * columns, 3.5 * rows)
    return write_figure(folder, name, render(draw, name=name, size_inches=size, rows=rows, columns=columns))


def write_neurons(folder: str | Path, *, name: str = "neurons") -> list[Path]:
    """Write ``figures/<name>.png`` and ``.pdf``: per data set and method a row, neurons before and after training.

    Args:
        folder: Results folder.
        name: File name without ending.

    Returns:
        The two paths.

    Raises:
        ResultsError: No record has neurons, or the files cannot be written.
    """
    frame = tidy_records(read_records(folder))
    groups = frame.groupby(["dataset", "method"], sort=True)
    found = [(str(part["dataset"].iloc[0]), recorded_neurons(part)) for _, part in groups]
    kept = [(dataset, neurons) for dataset, neurons in found if neurons is not None]
    if not kept:
        raise ResultsError(f"No record of {folder} has neurons. Run a comparison that trains a net.")

    def draw(axes: np.ndarray) -> None:
        for pair, (dataset, neurons) in zip(axes, kept):
            colour = looks([neurons.method])[neurons.method].colour
            neurons_before_after(pair, neurons.before, neurons.after, colour=colour)
            pair[0].set_ylabel(plain(f"{dataset}\n{neurons.run}"))

    size = (8.4, 4.2 * len(kept))
    return write_figure(folder, name, render(draw, name=name, size_inches=size, rows=len(kept), columns=2))


def _panel(ax: Axes, part: pd.DataFrame, quantity: str, shown: Mapping[str, Look]) -> None:
    """The curve of one data set, named below; an empty panel where it lacks the quantity."""
    if not is_recorded(part, quantity):
        ax.set_axis_off()
        return
    curve(ax, part, quantity=quantity, methods=shown)
    dataset = plain(str(part["dataset"].iloc[0]))
    ax.set_xlabel(f"{ax.get_xlabel()} ({dataset})")


def write_figure(folder: str | Path, name: str, rendered: Rendered) -> list[Path]:
    """Write ``figures/<name>.png`` and ``.pdf`` of a results folder and return the two paths."""
    target = Path(folder) / "figures"
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise ResultsError(
            f"{target} cannot be made ({error}). Copy the results to a folder of your own."
        ) from error
    return [
        write_atomically(target / f"{name}.png", rendered.png),
        write_atomically(target / f"{name}.pdf", rendered.pdf),
    ]
