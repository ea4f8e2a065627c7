"""Figures of the comparisons on images: test error, stability, neurons, deformations."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diffstab.errors import ResultsError
from diffstab.reporting import sections, tables, verdicts
from diffstab.reporting.document import Picture, Table, stacked
from diffstab.reporting.figures import curve, neurons_before_after, paired_differences
from diffstab.reporting.page import read_examples
from diffstab.reporting.paper.drawn import Drawn, Folders, records_of
from diffstab.reporting.pictures import file_stem, recorded_neurons
from diffstab.reporting.quantities import number_text, quantity
from diffstab.reporting.rendering import render
from diffstab.reporting.style import Look, looks, plain

_BANDS = "Bands: 95 % Student interval of the mean over draws; faint: single draws."


def draw_test_error(folders: Folders) -> Drawn:
    """Test error against n in both regimes, and the difference draw by draw, a column per data set."""
    frame = records_of(folders)
    picture = quantities_picture(frame, ["test_error"], stem="test_error_vs_n", paired=True)
    return Drawn([picture], [_differences(frame, ["test_error"]), _summaries(frame, ["test_error"])])


def draw_stability(folders: Folders) -> Drawn:
    """D, G and R against n in both regimes, a column per data set."""
    frame, names = records_of(folders), ["D", "G", "R"]
    picture = quantities_picture(frame, names, stem="stability_vs_n")
    return Drawn([picture], [_differences(frame, names), _summaries(frame, [*names, "init_R"])])


def draw_overview(folders: Folders) -> Drawn:
    """Test error, D and R against n, a row per data set."""
    picture = quantities_picture(
        records_of(folders), ["test_error", "D", "R"], stem="overview", is_across=True
    )
    return Drawn([picture])


def draw_neurons(folders: Folders) -> Drawn:
    """Neurons before and after training, a row per data set and trained method, and the sparsity of all."""
    frame = records_of(folders)
    groups = frame.groupby(["dataset", "method"], sort=True)
    found = [(str(part["dataset"].iloc[0]), recorded_neurons(part)) for _, part in groups]
    kept = [(dataset, neurons) for dataset, neurons in found if neurons is not None]
    if not kept:
        raise ResultsError("No record has neurons. Run a comparison that trains a net.")

    def draw(axes: np.ndarray) -> None:
        for pair, (dataset, neurons) in zip(axes, kept):
            colour = looks([neurons.method])[neurons.method].colour
            neurons_before_after(pair, neurons.before, neurons.after, colour=colour)
            pair[0].set_ylabel(plain(f"{dataset}\n{neurons.run}"))

    size = (8.4, 4.2 * len(kept))
    rendered = render(draw, name="neurons", size_inches=size, rows=len(kept), columns=2)
    caption = (
        "Neurons on a plane of two principal components, before and after training, each panel at its own scale. "
        "Area of a disc: mass of the neuron."
    )
    alt = "; ".join(_effective(dataset, neurons.run, neurons.effective) for dataset, neurons in kept)
    picture = Picture("neurons", rendered, caption, f"{alt}.", as_png=True, wide=True)
    return Drawn([picture], [_by_dataset(frame, sections.listed_sparsity)])


def draw_deformations(folders: Folders) -> Drawn:
    """Images, deformed and noisy, of every data set."""
    drawn = []
    for stage, folder in folders.items():
        stacks = read_examples(folder / "examples.npz")
        if stacks:
            shown = sections.examples(stacks).pictures
            drawn += [one._replace(stem=f"{file_stem(stage)}-{one.stem}") for one in shown]
    if not drawn:
        raise ResultsError("No folder holds example images. Write them with `diffstab compare`.")
    return Drawn(drawn)


def quantities_picture(
    frame: pd.DataFrame, names: Sequence[str], *, stem: str, is_across: bool = False, paired: bool = False
) -> Picture:
    """Quantities against n: a row of panels per quantity, a column per data set.

    Args:
        frame: Records of all data sets.
        names: Columns to draw; one that no record has gets no row.
        stem: File name without ending.
        is_across: Quantities in columns and data sets in rows instead.
        paired: Whether a second row shows the differences of the first pair of methods, draw by draw.

    Returns:
        The picture.

    Raises:
        ResultsError: No record has any of the quantities.
    """
    kept = [name for name in names if tables.is_recorded(frame, name)]
    if not kept:
        raise ResultsError(f"No record has {' or '.join(names)}. Run a comparison that measures it.")
    parts = [part for _, part in frame.groupby("dataset", sort=True)]
    panels = [partial(_panel, name=name, shown=looks(frame["method"])) for name in kept]
    panels += [partial(_difference_panel, name=name) for name in kept if paired]

    def draw(axes: np.ndarray) -> None:
        for row, panel in zip(axes.T if is_across else axes, panels, strict=True):
            for ax, part in zip(row, parts, strict=True):
                panel(ax, part)

    rows, columns = (len(parts), len(panels)) if is_across else (len(panels), len(parts))
    size = (4.6 * columns, 3.5 * rows)
    rendered = render(draw, name=stem, size_inches=size, rows=rows, columns=columns)
    caption = f"{'; '.join(quantity(name).label for name in kept)}. {_BANDS}"
    if any(tables.is_recorded(frame, f"init_{name}") for name in kept):
        caption += " Dashed: the same predictor at initialisation."
    if paired:
        caption += " Below: the difference between the regimes on the same draw, with its 95 % interval."
    return Picture(stem, rendered, caption, _said(parts, kept), wide=columns > 1)


def _panel(ax: Axes, part: pd.DataFrame, *, name: str, shown: Mapping[str, Look]) -> None:
    """The curve of one data set, named below; an empty panel where it lacks the quantity."""
    if not tables.is_recorded(part, name):
        ax.set_axis_off()
        return
    present = {method: look for method, look in shown.items() if method in set(part["method"])}
    curve(ax, part, quantity=name, methods=present)
    _name_below(ax, part)


def _difference_panel(ax: Axes, part: pd.DataFrame, *, name: str) -> None:
    """The paired differences of one data set; an empty panel where no draw has both sides."""
    pairs = tables.method_pairs(part)[:1]
    sides = [{"method": method, "baseline": baseline} for method, baseline in pairs]
    if not sides or tables.paired_draws(part, quantity=name, **sides[0]).empty:
        ax.set_axis_off()
        return
    paired_differences(ax, part, quantity=name, **sides[0])
    _name_below(ax, part)


def _name_below(ax: Axes, part: pd.DataFrame) -> None:
    ax.set_xlabel(f"{ax.get_xlabel()} ({plain(str(part['dataset'].iloc[0]))})")


def _said(parts: Sequence[pd.DataFrame], names: Sequence[str]) -> str:
    """The course of each quantity of the first pair of methods, in words."""
    texts = []
    for part in parts:
        for name in names:
            rows = tables.summary_rows(part, quantities=[name])
            chosen = {method for pair in tables.method_pairs(part)[:1] for method in pair}
            courses = [verdicts.course([row for row in rows if row.method == one]) for one in sorted(chosen)]
            said = "; ".join(filter(None, courses))
            texts.append(f"{quantity(name).label} against n on {part['dataset'].iloc[0]}. {said}")
    return f"{'. '.join(texts)}."


def _differences(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    return _by_dataset(frame, partial(sections.listed_differences, names=names))


def _summaries(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    return _by_dataset(frame, partial(sections.listed_summaries, names=names))


def _by_dataset(frame: pd.DataFrame, listed: Callable[[pd.DataFrame], Table]) -> Table:
    parts = frame.groupby("dataset", sort=True)
    return stacked("Data set", {str(dataset): listed(part) for dataset, part in parts})


def _effective(dataset: str, run: str, effective: tuple[float, float]) -> str:
    before, after = (number_text(value) for value in effective)
    return f"{dataset}, {run}: effective number of neurons {before} before and {after} after training"
