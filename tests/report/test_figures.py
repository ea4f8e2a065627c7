"""Figures draw the numbers of the tables, and leave the settings of matplotlib alone."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from diffstab.errors import ArgumentError
from diffstab.report import figures, style, tables
from diffstab.report.rendering import render


@pytest.fixture
def frame(make_records):
    return tables.tidy_records(make_records())


@pytest.fixture
def ax():
    return Figure().subplots()


def labelled(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_curve_draws_means_of_the_table_in_percent(ax, frame):
    assert figures.curve(ax, frame, quantity="test_error") is ax
    lines = labelled(ax)
    assert set(lines) == {"feature", "lazy (exact)"}
    summary = tables.summary_table(frame, quantities=["test_error"]).set_index("method")
    drawn = lines["feature"].get_xydata()
    expected = summary.loc["feature", ["n_train", "mean"]].to_numpy(dtype=float) * [1, 100]
    np.testing.assert_allclose(drawn, expected)
    assert ax.get_ylabel() == "Test error (%)"
    assert ax.get_xscale() == "log"


def test_curve_band_spans_the_interval_and_seeds_are_points(ax, frame):
    figures.curve(ax, frame, quantity="R")
    summary = tables.summary_table(frame, quantities=["R"])
    bands = [artist for artist in ax.collections if type(artist).__name__ == "FillBetweenPolyCollection"]
    heights = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in bands])
    assert heights.min() == pytest.approx(summary["low"].min())
    assert heights.max() == pytest.approx(summary["high"].max())
    points = [artist for artist in ax.collections if type(artist).__name__ == "PathCollection"]
    assert sum(len(artist.get_offsets()) for artist in points) == len(frame)


def test_a_single_seed_without_interval_has_no_band(ax, make_records):
    figures.curve(ax, tables.tidy_records(make_records(seeds=(0,))), quantity="test_error")
    assert not ax.collections


def test_initial_values_are_dashed_where_recorded(ax, frame):
    figures.curve(ax, frame, quantity="R")
    dashed = [line for line in ax.lines if line.is_dashed() and len(line.get_xdata())]
    assert len(dashed) == 1
    np.testing.assert_allclose(dashed[0].get_ydata(), 1.03)
    assert "at initialisation" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_hover_texts_say_the_value_and_its_interval(ax, frame):
    figures.curve(ax, frame, quantity="test_error")
    texts = [line.get_gid() for line in ax.lines if line.get_gid()]
    assert len(texts) == 6
    assert all(text.startswith(figures.HOVER) and text.endswith("5 seeds") and "[" in text for text in texts)


def test_negative_values_keep_a_linear_axis(ax, frame):
    figures.curve(ax, frame.assign(R=frame["R"] - 1.0), quantity="R")
    assert ax.get_yscale() == "linear"


def test_curve_by_another_column(ax, frame):
    figures.curve(ax, frame.assign(group=frame["seed"] % 2), quantity="G", by="group")
    assert set(labelled(ax)) == {"0", "1"}


def test_curve_refuses_what_is_not_there(ax, frame):
    with pytest.raises(
        ArgumentError, match="quantity must have a finite value in the records, got 'nothing'"
    ):
        figures.curve(ax, frame, quantity="nothing")
    with pytest.raises(ArgumentError, match="by must be a column of the records, got 'nothing'"):
        figures.curve(ax, frame, quantity="R", by="nothing")


def test_paired_differences_show_mean_interval_and_counts(ax, frame):
    figures.paired_differences(ax, frame, quantity="R")
    rows = tables.paired_table(frame, quantities=["R"])
    marks = [line for line in ax.lines if line.get_gid()]
    np.testing.assert_allclose([line.get_ydata()[0] for line in marks], rows["mean"])
    assert [text.get_text() for text in ax.texts] == [f"{count}/5" for count in rows["baseline_lower"]]


def test_paired_differences_need_a_common_draw(ax, frame):
    with pytest.raises(
        ArgumentError, match="frame must have R of feature and lazy_trained on one draw, got none"
    ):
        figures.paired_differences(ax, frame, quantity="R", baseline="lazy_trained")


def test_neurons_have_areas_in_the_order_of_their_masses(ax):
    points = figures.Neurons(np.array([0.0, 1.0, np.nan, 2.0]), np.zeros(4), np.array([4.0, 1.0, 9.0, 0.0]))
    figures.neurons(ax, points)
    areas = ax.collections[0].get_sizes()
    assert len(areas) == 3
    assert areas[0] > areas[1] > areas[2] > 0


def test_neurons_of_no_mass_and_none_at_all_still_draw(ax):
    figures.neurons(ax, figures.Neurons(np.zeros(2), np.zeros(2), np.zeros(2)))
    figures.neurons(ax, figures.Neurons(np.zeros(0), np.zeros(0), np.zeros(0)))
    assert [len(artist.get_offsets()) for artist in ax.collections] == [2, 0]


def test_neurons_refuse_arrays_of_different_length(ax):
    with pytest.raises(
        ArgumentError, match=r"points must have one x, y and mass per neuron, got \(2, 2, 3\)"
    ):
        figures.neurons(ax, figures.Neurons(np.zeros(2), np.zeros(2), np.zeros(3)))
    with pytest.raises(ArgumentError, match="axes must be two, got 1"):
        figures.neurons_before_after([ax], *(figures.Neurons(*np.zeros((3, 2))),) * 2)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_examples_share_the_scale_of_the_original_and_leave_the_caller_s_arrays(channels):
    images = np.random.default_rng(0).normal(size=(2, channels, 5, 5))
    copies = images.copy()
    axes = Figure().subplots(3, 2)
    figures.examples_grid(axes, images, images + 100, images, titles=["a", "b"])
    shown = [ax.images[0].get_array() for ax in axes[:, 0]]
    assert (shown[0].min(), shown[0].max()) == (0.0, 1.0)
    assert (shown[1] == 1).all()
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(images, copies)
    assert [ax.get_title() for ax in axes[0]] == ["a", "b"]


def test_examples_of_a_constant_image_draw_without_division_by_zero():
    axes = Figure().subplots(3, 1, squeeze=False)
    figures.examples_grid(axes, *np.ones((3, 1, 1, 4, 4)))
    assert np.isfinite(axes[0, 0].images[0].get_array()).all()


def test_examples_refuse_shapes_that_do_not_fit():
    axes = Figure().subplots(3, 2)
    images = np.zeros((2, 1, 4, 4))
    with pytest.raises(ArgumentError, match=r"share one shape \(k, C, H, W\)"):
        figures.examples_grid(axes, images, images[:1], images)
    with pytest.raises(ArgumentError, match=r"axes must have shape \(3, 2\), got \(2, 3\)"):
        figures.examples_grid(axes.reshape(2, 3), images, images, images)


def relative_luminance(colour):
    channels = np.array([int(to_hex(colour)[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_convention_looks_differ_in_colour_and_marker_and_are_seen_on_white():
    found = style.looks(["feature", "lazy_exact", "lazy_trained", "feature_adam", "x1", "x2", "x3", "x4"])
    assert found == style.looks(reversed(list(found)))
    assert len({look.colour for look in found.values()}) == len({look.marker for look in found.values()}) == 8
    assert all(1.05 / (relative_luminance(look.colour) + 0.05) > 2 for look in found.values())


def test_any_method_name_is_drawn_as_it_stands(frame):
    for name in ("$\\frac", "_hidden", "<b>&\"'</b>", "a--b"):
        renamed = frame.replace({"method": {"feature": name}})
        svg = render(lambda axes, part=renamed: figures.curve(axes.item(), part, quantity="R"), name="x").svg
        assert "<b>" not in svg
        assert svg.count("data-hover=") == 6


def test_rendering_repeats_to_the_byte_and_restores_the_settings(frame):
    before = dict(mpl.rcParams)
    first, second = (
        render(lambda axes: figures.curve(axes.item(), frame, quantity="R"), name="r") for _ in range(2)
    )
    assert first == second
    assert dict(mpl.rcParams) == before
    assert first.png.startswith(b"\x89PNG")
    assert first.pdf.startswith(b"%PDF")


def test_identifiers_of_two_charts_in_one_page_do_not_clash(frame):
    svgs = [
        render(lambda axes: figures.curve(axes.item(), frame, quantity="R"), name=name).svg for name in "ab"
    ]
    found = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in svgs]
    assert found[0].isdisjoint(found[1])
    for svg, names in zip(svgs, found):
        used = set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg))
        assert used
        assert used <= names
