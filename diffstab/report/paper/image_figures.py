"""Figures of the comparisons on images: test error, stability, neurons, deformations."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diffstab.errors import ResultsError
from diffstab.report import sections, tables, verdicts
from diffstab.report.document import Picture, Table, stacked
from diffstab.report.figures import curve, neurons, paired_differences
from diffstab.report.numbers import number_text
from diffstab.report.page import read_examples
from diffstab.report.paper.drawn import Drawn, Folders, records_of
from diffstab.report.pictures import RecordedNeurons, examples_picture, file_stem, recorded_neurons
from diffstab.report.rendering import render
from diffstab.report.style import Look, looks, plain
from diffstab.results import read_records
from diffstab.results.schema import describe, ordered_values, value_name

_IMAGES = 3
"""So many images are shown at each displacement."""
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
    """Neurons before and after training, a row per data set, and every measure of their sparsity."""
    frame = records_of(folders)
    rows = {title: _neurons(part) for title, part in data_sets(frame).items()}
    rows = {title: found for title, found in rows.items() if found}
    if not rows:
        raise ResultsError("No record has neurons. Run a comparison that trains a net.")
    columns = 1 + max(map(len, rows.values()))

    def draw(axes: np.ndarray) -> None:
        for row, (title, found) in zip(axes, rows.items()):
            for ax in row[1 + len(found) :]:
                ax.set_axis_off()
            _draw_row(row, title, found)

    size = (3.9 * columns, 3.8 * len(rows))
    rendered = render(draw, name="neurons", size_inches=size, rows=len(rows), columns=columns)
    caption = (
        "Neurons on a plane of two principal components, each panel at its own scale: on the left at initialisation of "
        "the first method, then after training by each method. Area of a disc: mass of the neuron."
    )
    said = [_effective(title, one) for title, found in rows.items() for one in found]
    picture = Picture("neurons", rendered, caption, f"{'; '.join(said)}.", as_png=True, wide=True)
    return Drawn([picture], [_by_dataset(frame, sections.listed_sparsity)])


def _neurons(part: pd.DataFrame) -> list[RecordedNeurons]:
    """The neurons of every method of one data set that recorded them, feature methods first."""
    found = [recorded_neurons(runs) for _, runs in part.groupby("method", sort=True)]
    return [one for one in found if one is not None]


def _draw_row(row: Sequence[Axes], title: str, found: Sequence[RecordedNeurons]) -> None:
    colours = looks(one.method for one in found)
    neurons(row[0], found[0].before, title="at initialisation", colour=colours[found[0].method].colour)
    row[0].set_ylabel(plain(f"{title}\nSecond principal component"))
    for ax, one in zip(row[1:], found):
        neurons(ax, one.after, title=plain(one.run), colour=colours[one.method].colour)


def draw_deformations(folders: Folders) -> Drawn:
    """Images, deformed and noisy at every recorded displacement, a picture per data set."""
    drawn = []
    for folder in folders.values():
        stacks = read_examples(folder / "examples.npz")
        if stacks:
            dataset = str(read_records(folder)["dataset"].iloc[0])
            drawn.append(_examples(stacks, dataset))
    if not drawn:
        raise ResultsError("No folder holds example images. Write them with `diffstab compare`.")
    return Drawn(drawn)


def _examples(stacks: Mapping[str, np.ndarray], dataset: str) -> Picture:
    """The first images of one data set, once for each displacement."""
    delta_px = np.broadcast_to(np.ravel(stacks["delta_px"]), (len(stacks["images"]),))
    columns = [
        index for value in np.unique(delta_px) for index in np.flatnonzero(delta_px == value)[:_IMAGES]
    ]
    shown = {name: stacks[name][columns] for name in ("images", "deformed", "noisy")}
    titles = [f"δ = {delta_px[index]:g} px" for index in columns]
    picture = examples_picture(shown, titles=titles, stem=f"examples-{file_stem(dataset)}")
    name = value_name("dataset", dataset)
    caption, alt = f"{name}. {picture.caption}", f"{name}. {picture.alt}"
    return picture._replace(caption=caption, alt=alt, wide=len(columns) > _IMAGES)


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
    parts = data_sets(frame)
    panels = [partial(_panel, name=name, shown=looks(frame["method"])) for name in kept]
    panels += [partial(_difference_panel, name=name) for name in kept if paired]

    def draw(axes: np.ndarray) -> None:
        for row, panel in zip(axes.T if is_across else axes, panels, strict=True):
            for ax, (title, part) in zip(row, parts.items(), strict=True):
                panel(ax, part)
                ax.set_xlabel(f"{ax.get_xlabel()} ({title})")
        _one_legend(axes[1:])

    rows, columns = (len(parts), len(panels)) if is_across else (len(panels), len(parts))
    size = (4.6 * columns, 3.5 * rows)
    rendered = render(draw, name=stem, size_inches=size, rows=rows, columns=columns)
    caption = f"{'; '.join(describe(name).label for name in kept)}. {_BANDS}"
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


def _difference_panel(ax: Axes, part: pd.DataFrame, *, name: str) -> None:
    """The paired differences of one data set; an empty panel where no draw has both sides."""
    pairs = tables.method_pairs(part)[:1]
    sides = [{"method": method, "baseline": baseline} for method, baseline in pairs]
    if not sides or tables.paired_draws(part, quantity=name, **sides[0]).empty:
        ax.set_axis_off()
        return
    paired_differences(ax, part, quantity=name, **sides[0])


def _one_legend(axes: np.ndarray) -> None:
    """Take away the legends of all but the first row: they say the same."""
    for ax in axes.flat:
        if ax.get_legend() is not None:
            ax.get_legend().remove()


def data_sets(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the records of each data set by the name that readers see, in the order of the schema."""
    listed = ordered_values("dataset")
    names = [*listed, *sorted(set(frame["dataset"]).difference(listed))]
    return {
        value_name("dataset", name) if name in listed else plain(name): frame[frame["dataset"] == name]
        for name in names
        if (frame["dataset"] == name).any()
    }


def _said(parts: Mapping[str, pd.DataFrame], names: Sequence[str]) -> str:
    """The course of each quantity of the first pair of methods, in words."""
    texts = []
    for title, part in parts.items():
        for name in names:
            rows = tables.summary_rows(part, quantities=[name])
            chosen = {method for pair in tables.method_pairs(part)[:1] for method in pair}
            courses = [verdicts.course([row for row in rows if row.method == one]) for one in sorted(chosen)]
            said = "; ".join(filter(None, courses))
            texts.append(f"{describe(name).label} against n on {title}. {said}")
    return f"{'. '.join(texts)}."


def _differences(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    return _by_dataset(frame, partial(sections.listed_differences, names=names))


def _summaries(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    return _by_dataset(frame, partial(sections.listed_summaries, names=names))


def _by_dataset(frame: pd.DataFrame, listed: Callable[[pd.DataFrame], Table]) -> Table:
    return stacked("Data set", {title: listed(part) for title, part in data_sets(frame).items()})


def _effective(title: str, found: RecordedNeurons) -> str:
    before, after = (number_text(value) for value in found.effective)
    return f"{title}, {found.run}: effective number of neurons {before} before and {after} after training"
