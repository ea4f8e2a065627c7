"""Plots as data: any statistic with any mark, and a figure that says what it has drawn and nothing else."""

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from diffstab.errors import ArgumentError
from diffstab.report import plots
from diffstab.report.catalogue import draw_figure, plot_picture
from diffstab.report.marks import HOVER, MARKS, NEXT
from diffstab.report.plots import Layer, Plot, Reference
from diffstab.report.scales import set_scale
from diffstab.report.summaries import STATISTICS
from diffstab.report.tables import tidy_records

MEAN, EVERY = STATISTICS["mean"], STATISTICS["every"]
CURVE = (
    Layer(EVERY, MARKS["faint points"], is_spread=True),
    Layer(MEAN, MARKS["band"]),
    Layer(MEAN, MARKS["dashed line"], y="init_{y}", says="before training"),
    Layer(MEAN, MARKS["line"]),
    Layer(MEAN, MARKS["markers"]),
)


@pytest.fixture
def frame(make_records):
    return tidy_records(make_records())


def drawn(plot, records):
    frame = plot.frame(records)
    axes = Figure().subplots(*plots.shape(plot, frame), squeeze=False)
    return axes, plots.draw(plot, frame, axes)


def markers(ax):
    return [line for line in ax.lines if (line.get_gid() or "").startswith(HOVER)]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_goes_with_every_mark(statistic, mark, frame):
    plot = Plot("n_train", ("R",), (Layer(STATISTICS[statistic], MARKS[mark]),), facets=("dataset",))
    axes, legend = drawn(plot, frame)
    ends = MARKS[mark].has_ends
    shows_ends = statistic in ("mean", "geometric mean", "every")
    assert axes[0, 0].has_data() == (shows_ends or not ends)
    assert bool(legend.sentence()) == axes[0, 0].has_data()


def test_markers_stand_at_the_means_in_the_units_of_the_column(frame):
    axes, _ = drawn(Plot("n_train", ("test_error",), CURVE), frame)
    means = frame[frame["method"] == "feature"].groupby("n_train")["test_error"].mean()
    line = next(line for line in markers(axes[0, 0]) if "feature" in line.get_gid() and line.get_alpha() == 1)
    np.testing.assert_allclose(line.get_ydata(), 100 * means)
    assert list(line.get_xdata()) == list(means.index)
    assert axes[0, 0].get_ylabel() == "Test error (%)"
    texts = line.get_gid().removeprefix(HOVER).split(NEXT)
    assert len(texts) == 3
    assert all(re.fullmatch(r"feature, n = \d+: .* % \[.*\], 5 draws", text) for text in texts)


def test_the_band_spans_the_intervals_of_the_means(frame):
    axes, _ = drawn(Plot("n_train", ("R",), (Layer(MEAN, MARKS["band"]),)), frame)
    tables = [MEAN.table(part, x="n_train", y="R") for _, part in frame.groupby("method")]
    heights = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in axes[0, 0].collections[1::2]])
    assert heights.min() == pytest.approx(min(table["low"].min() for table in tables))
    assert heights.max() == pytest.approx(max(table["high"].max() for table in tables))


def test_legend_and_caption_tell_of_nothing_that_is_not_drawn(frame):
    plot = Plot("n_train", ("R",), CURVE)
    _, legend = drawn(plot, frame)
    assert list(legend.handles("method")) == ["feature", "lazy (exact)", "before training"]
    assert "dashed line: before training" in legend.sentence()
    single = frame[(frame["seed"] == 0) & (frame["method"] == "feature")].drop(columns=["init_R", "R_low"])
    _, legend = drawn(plot, single)
    assert legend.handles("method") == {}
    assert legend.sentence() == "Line and markers: mean over draws."


def test_entries_of_a_legend_look_like_what_is_drawn(frame):
    layers = (Layer(MEAN, MARKS["bars"]), Layer(MEAN, MARKS["diamonds"]))
    for chosen, marker, lines in ((layers, {"D"}, {"None"}), (CURVE, {"o", "s"}, {"-"})):
        _, legend = drawn(Plot("n_train", ("R",), chosen), frame)
        entries = [legend.handles("method")[name] for name in ("feature", "lazy (exact)")]
        assert {entry.get_marker() for entry in entries} == marker
        assert {entry.get_linestyle() for entry in entries} == lines


def test_a_legend_of_many_rows_leaves_the_panels_their_height(frame):
    plot = Plot("n_train", ("R",), CURVE)
    heights = []
    for name in ("a", "a label that takes a row of its own, since it is so very long indeed"):
        figure = Figure(figsize=(4.5, 3.7), layout="constrained")
        legend = plots.draw(plot, plot.frame(frame), figure.subplots(1, 1, squeeze=False))
        legend.name(name, legend.handles("method")["feature"])
        plots.add_legend(figure, legend, "method")
        figure.draw_without_rendering()
        heights.append(figure.get_figheight() * figure.axes[0].get_position().height)
    assert heights[1] == pytest.approx(heights[0], rel=0.08)


def test_a_single_draw_has_the_interval_of_its_record(frame):
    single = frame[frame["seed"] == 0]
    _, legend = drawn(Plot("n_train", ("R",), CURVE), single)
    assert "band: 95 % interval over test images (one draw)" in legend.sentence().lower()


def test_panels_stand_in_the_order_of_the_schema_with_their_names(make_records):
    frame = tidy_records(make_records(datasets=("aa_$x$", "fashion_mnist", "mnist"), sizes=(32,)))
    plot = Plot("n_train", ("R", "D"), CURVE, facets=("dataset",))
    axes, legend = drawn(plot, frame)
    assert axes.shape == (2, 3)
    assert [ax.get_title() for ax in axes[0]] == ["MNIST", "Fashion-MNIST", r"aa_\$x\$"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == [
        "Relative stability, R",
        "Sensitivity to deformations, D",
    ]
    across, _ = drawn(Plot("n_train", ("R", "D"), CURVE, facets=("dataset",), across=True), frame)
    assert across.shape == (3, 2)
    assert [text.split(":")[0] for text in legend.said[:2]] == [
        "Relative stability, R (MNIST)",
        "Relative stability, R (Fashion-MNIST)",
    ]


def test_panels_without_a_value_are_empty_and_none_at_all_is_refused(make_records):
    frame = tidy_records(make_records(datasets=("mnist", "digits"), sizes=(32,)))
    frame.loc[frame["dataset"] == "digits", "R"] = np.nan
    axes, _ = drawn(Plot("n_train", ("R",), CURVE, facets=("dataset",)), frame)
    assert [ax.get_visible() for ax in axes[0]] == [False, True]
    with pytest.raises(ArgumentError, match="frame must have a value of nothing, got none"):
        plots.shape(Plot("n_train", ("nothing",), CURVE), frame)


def test_rounding_is_no_data_on_a_log_axis():
    frame = pd.DataFrame({"n_train": [1, 2, 3], "loss": [1.0, 1e-3, 1e-17], "method": "m"})
    plot = Plot("n_train", ("loss",), (Layer(MEAN, MARKS["markers"]),), scales=("sizes", "log"))
    axes, _ = drawn(plot, frame)
    assert list(markers(axes[0, 0])[0].get_ydata()) == [1.0, 1e-3]
    assert axes[0, 0].get_ylim()[0] > 1e-4


def test_references_take_numbers_and_columns(frame):
    known = frame.assign(start=128, floor=1.0, ceiling=2.0)
    references = (
        Reference(0.5, label="half"),
        Reference("start", is_vertical=True, label="start"),
        Reference("floor", "ceiling", label="strip"),
        Reference("diagonal", label="as many"),
        Reference("nowhere", label="nowhere"),
    )
    plot = Plot("n_train", ("R",), CURVE, references=references)
    axes, legend = drawn(plot, known)
    assert set(legend.names) == {"half", "start", "strip", "as many", "before training"}
    upright = [line for line in axes[0, 0].lines if list(line.get_xdata()) == [128, 128]]
    assert len(upright) == 1


def test_a_layer_for_each_value_of_a_column_and_of_chosen_rows(frame):
    lines = Layer(EVERY, MARKS["line"], each="seed", where="kept")
    known = frame.assign(kept=frame["seed"] < 3)
    axes, _ = drawn(Plot("n_train", ("R",), (lines,)), known[known["method"] == "feature"])
    assert len(axes[0, 0].lines) == 3


def test_a_histogram_counts_the_values(frame):
    plot = Plot(
        "n_train", ("R",), (Layer(STATISTICS["histogram"], MARKS["columns"]),), scales=("linear", "linear")
    )
    axes, _ = drawn(plot, frame)
    assert sum(patch.get_height() for patch in axes[0, 0].patches) == len(frame)


@pytest.mark.parametrize("name", ["$\\frac", "_hidden", "<b>&\"'</b>", "a--b"])
def test_any_name_is_drawn_as_it_stands(name, frame):
    renamed = frame.replace({"method": {"feature": name}})
    plot = Plot("n_train", ("R",), CURVE)
    picture = plot_picture(plot, plot.frame(renamed), name="x")
    assert "<b>" not in picture.rendered.svg
    assert picture.rendered.svg.count("data-hover=") >= 6


def test_one_figure_from_a_frame_repeats_and_leaves_settings_and_records_alone(frame):
    before, settings = frame.copy(), dict(mpl.rcParams)
    figure = draw_figure(Plot("n_train", ("test_error", "R"), CURVE), frame)
    assert [ax.get_ylabel() for ax in figure.axes] == ["Test error (%)", "Relative stability, R"]
    plot = Plot("n_train", ("R",), CURVE)
    first, second = (plot_picture(plot, plot.frame(frame), name="r") for _ in range(2))
    assert first.rendered == second.rendered
    pd.testing.assert_frame_equal(frame, before)
    assert dict(mpl.rcParams) == settings


def test_unknown_scales_are_refused():
    with pytest.raises(ArgumentError, match="scale must be sizes, log, linear, auto or steps, got 'cubic'"):
        set_scale(Figure().subplots(), "x", np.ones(1), "cubic")


def test_an_axis_of_whole_numbers_has_no_ticks_between_them(axes):
    ax = axes()
    ax.plot([1, 2, 3], [0.1, 0.2, 0.3])
    set_scale(ax, "x", np.array([1.0, 2.0, 3.0]), "linear")
    assert all(tick == round(tick) for tick in ax.get_xticks())
