import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from diffstab.errors import ArgumentError
from diffstab.report.sphere import (
    CirclePredictor,
    Theory,
    atoms,
    circle_predictors,
    error_spectrum,
    exponent_rows,
    learning_curves,
)
from diffstab.report.tables import tidy_records


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def frame(sphere_records):
    return tidy_records(sphere_records())


def styled(ax, style):
    return [line for line in ax.lines if line.get_linestyle() == style]


def test_markers_are_geometric_means_and_dashes_have_the_predicted_slope(ax, frame):
    rows = exponent_rows(frame)
    assert learning_curves(ax, frame, exponents=rows) is ax
    hovers = [line for line in ax.lines if (line.get_gid() or "").startswith("hover:lazy")]
    assert len(hovers) == 5
    errors = frame[(frame["method"] == "lazy_ntk") & (frame["n_train"] == 8)]["test_error"]
    assert hovers[0].get_ydata()[0] == pytest.approx(math.exp(np.log(errors).mean()))
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    slopes = sorted(-np.diff(np.log(line.get_ydata())) / np.diff(np.log(line.get_xdata())) for line in dashed)
    assert np.ravel(slopes) == pytest.approx([2.5, 3.0])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_theory_is_dotted(ax, frame):
    learning_curves(ax, frame, theory={"lazy_ntk": Theory([8, 128], [1e-2, 1e-5])})
    (line,) = styled(ax, ":")
    assert list(line.get_ydata()) == [1e-2, 1e-5]


def test_errors_that_are_all_zero_are_refused(ax, frame):
    with pytest.raises(ArgumentError, match="frame must have a positive test_error"):
        learning_curves(ax, frame.assign(test_error=0.0))


def test_a_spectrum_leaves_out_degree_zero_and_what_is_not_positive(ax):
    power = np.array([5.0, 0.0, 0.1, -1e-9, 0.01])
    error_spectrum(ax, {"lazy_ntk": power}, target=power, learnt_degree=3.0, theory={"lazy_ntk": power})
    assert all(list(line.get_xdata()) == [2, 4] for line in ax.lines[:3])
    assert list(ax.lines[-1].get_xdata()) == [3.0, 3.0]


def test_atoms_beside_the_line_of_as_many_as_points(ax, frame):
    atoms(ax, frame)
    assert list(ax.lines[0].get_xdata()) == list(ax.lines[0].get_ydata()) == [8, 128]
    assert len(ax.collections[0].get_offsets()) == 25


def test_the_window_shows_what_lies_in_it(ax):
    angles = np.linspace(-np.pi, np.pi, 101)
    one = CirclePredictor(angles, np.cos(angles), np.array([0.1, 2.0]))
    circle_predictors(
        ax, {"feature_exact": one}, points=np.array([0.0, 1.0]), values=np.ones(2), window=(-0.5, 0.5)
    )
    curve, kinks, points = ax.lines
    assert np.abs(curve.get_xdata()).max() <= 0.5
    assert list(kinks.get_xdata()) == [0.1]
    assert list(points.get_xdata()) == [0.0]
    assert ax.get_xlim() == (-0.5, 0.5)


def test_one_seed_has_no_bar(ax, sphere_records):
    single = tidy_records(sphere_records(seeds=(0,)))
    learning_curves(ax, single)
    assert all(len(line.get_xdata()) == 1 for line in ax.lines)
    assert isinstance(single, pd.DataFrame)
