import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from diffstab.errors import ResultsError
from diffstab.experiments.sphere import SphereExperiment, SphereMethod
from diffstab.grid.running import run_grid
from diffstab.report import plots
from diffstab.report.marks import HOVER
from diffstab.report.page import write_report
from diffstab.report.pages import page_of
from diffstab.report.pages.sphere import answer, cautions, prepare, spectrum_frame, with_prediction
from diffstab.report.runs import Runs
from diffstab.report.special.circle import CirclePredictor, circle_predictors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A real small curve, with every kind of predictor and picture."""
    methods = {
        "lazy_ntk": SphereMethod(),
        "lazy_random_features": SphereMethod(predictor="random_features"),
        "feature_exact": SphereMethod(predictor="exact"),
    }
    experiment = SphereExperiment(
        dimensions=[2, 3],
        n_train=[6, 20],
        seeds=[0, 1],
        methods=methods,
        n_test=200,
        degrees=8,
        spectrum_points=100,
    )
    folder = tmp_path_factory.mktemp("curve")
    run_grid(experiment, folder, console=Console(quiet=True))
    write_report(folder)
    return folder


def runs_of(records):
    return Runs("sphere", prepare(records, {}))


def test_the_page_stands_alone_with_its_figures_beside(folder):
    page = (folder / "report" / "index.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:|figures/)", page)
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    for stem in (
        "learning_curves",
        "circle-constant",
        "neurons-d2-constant",
        "neurons-d3-constant",
        "atoms",
        "rotations",
    ):
        assert {f"{stem}.png", f"{stem}.pdf"} <= names
    for text in ("Exponents", ">4.00<", "lazy (random features)", "n_train:"):
        assert text in page


def test_the_page_repeats_to_the_byte(folder):
    first = (folder / "report" / "index.html").read_bytes()
    assert write_report(folder).read_bytes() == first


def test_the_answer_names_both_exponents_beside_the_predicted_ones(sphere_records):
    said = answer(runs_of(sphere_records(spread=0.02)))
    assert re.search(
        r"β extrapolated to infinite n is 2\.[45]\d \[.*\] for feature \(exact\) \(.*predicted 2\.50\)", said
    )
    assert re.search(r"and (2\.9|3\.0)\d \[.*\] for lazy \(NTK\) \(.*predicted 3\.00\)", said)
    single = answer(runs_of(sphere_records(sizes=(8,))))
    assert single.startswith("No learning curve has three sizes yet")


def test_dashes_have_the_predicted_slope_and_theory_is_dotted(sphere_records):
    plot = page_of("sphere").figures["learning_curves"].content
    frame = plot.frame(prepare(sphere_records(), {}))
    axes = Figure().subplots(*plots.shape(plot, frame), squeeze=False)
    plots.draw(plot, frame, axes)
    (ax,) = axes[0]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--" and len(line.get_xdata()) == 2]
    slopes = sorted(-np.ptp(np.log(line.get_ydata())) / -np.ptp(np.log(line.get_xdata())) for line in dashed)
    assert slopes == pytest.approx([2.5, 3.0])
    marks = [
        line
        for line in ax.lines
        if (line.get_gid() or "").startswith(f"{HOVER}lazy") and line.get_alpha() == 1
    ]
    errors = frame[(frame["method"] == "lazy_ntk") & (frame["n_train"] == 8)]["test_error"]
    assert marks[0].get_ydata()[0] == pytest.approx(np.exp(np.log(errors).mean()))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_curve_without_prediction_has_no_dashes(sphere_records):
    frame = prepare(sphere_records().assign(isotropic=False), {})
    assert with_prediction(frame)["predicted_error"].isna().all()


def test_a_spectrum_leaves_out_degree_zero_and_what_is_not_positive(sphere_records):
    records = sphere_records(sizes=(8,), seeds=(0,))
    power = np.array([5.0, 0.0, 0.1, -1e-9, 0.01])
    target = np.array([1.0, 1e-17, 1e-33, 0.0, 0.5])
    records["error_power"], records["target_power"] = [power] * 2, [target] * 2
    found = spectrum_frame(prepare(records, {}))
    assert list(found["degree"]) == [2, 4] * 2
    # Rounding beside the power of the target is no power.
    assert list(found["target_power"].isna()) == [True, False] * 2
    assert spectrum_frame(pd.DataFrame({"n_train": [1]})).empty


def test_the_window_shows_what_lies_in_it():
    ax = Figure().subplots()
    angles = np.linspace(-np.pi, np.pi, 101)
    one = CirclePredictor(angles, np.cos(angles), np.array([0.1, 2.0]))
    points = np.array([0.0, 1.0])
    circle_predictors(ax, {"feature_exact": one}, points=points, values=np.ones(2), window=(-0.5, 0.5))
    curve, kinks, shown = ax.lines
    assert np.abs(curve.get_xdata()).max() <= 0.5
    assert list(kinks.get_xdata()) == [0.1]
    assert list(shown.get_xdata()) == [0.0]
    assert ax.get_xlim() == (-0.5, 0.5)


def test_cautions_name_what_weakens_the_numbers(sphere_records):
    records = sphere_records(sizes=(8, 16), seeds=(0, 1))
    assert cautions(runs_of(records)) == []
    weak = records.assign(gap=1e-2, tolerance=1e-4, certificate="heuristic", solver="eigh")
    weak.loc[0, "test_error"] = float("nan")
    wanted = (
        "singular to rounding",
        "8 exact feature predictors stopped",
        "a search found none",
        "no finite test error",
    )
    for text, words in zip(cautions(runs_of(weak)), wanted, strict=True):
        assert words in text


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="holds no records"):
        write_report(tmp_path)
