import re
import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from rich.console import Console

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.forces import ForcesExperiment
from diffstab.grid.running import run_grid
from diffstab.l2.descent import DescentSettings
from diffstab.l2.forces import AT_REST
from diffstab.report.l2 import forces as page
from diffstab.report.l2.forces import force_cautions, write_forces_report
from diffstab.report.l2.forces_figures import Snapshot, neurons_and_forces, points_and_forces, trace
from diffstab.report.numbers import number_text
from diffstab.report.page import write_report
from diffstab.report.style import Look
from diffstab.results import read_records

DIGITS = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "n_test": 10}}
TEACHER = {"class_path": "datamodules.TeacherNetwork", "init_args": {"widths": [2, 2, 1], "n_test": 5}}


def run(folder, **changes):
    settings = {"data": DIGITS, "n_train": 20, "hidden": [6, 5], "gd_steps": 20, "snapshots": [0, 6]}
    settings |= {"seeds": [0, 1], "descent": DescentSettings(adam_steps=60, finish_steps=0)}
    return run_grid(ForcesExperiment(**{**settings, **changes}), folder, console=Console(quiet=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two real small runs with their page."""
    folder = run(tmp_path_factory.mktemp("forces"))
    write_forces_report(folder)
    return folder


def html(folder):
    return (folder / "report" / "index.html").read_text()


def test_the_page_stands_alone_with_its_figures_beside(folder):
    text = html(folder)
    assert not re.search(r"(src|href)=\"(?!#|data:|figures/)", text)
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    stems = {"layer1-forces", "layer2-forces", "sizes", "cancellation", "structure"}
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}
    for words in (
        "Do the forces cancel at the end?",
        "Do classes part?",
        "on rays?",
        "hidden widths 6 – 5 · 2 runs",
    ):
        assert words in text
    assert "gd_steps: 20" in text


def test_the_page_repeats_to_the_byte_and_is_the_general_report(folder):
    first = html(folder)
    assert write_report(folder).read_text() == first


def test_verdicts_say_the_recorded_numbers(folder):
    frame = read_records(folder).sort_values("seed", ignore_index=True)
    verdicts = dict(page.findings(frame).verdicts)
    ends = frame["imbalance_2"]
    said = verdicts["Do the forces cancel at the end?"]
    # So few steps leave the nets far from a minimum and the forces far from cancelling.
    assert ends.max() > page.CANCELLED
    assert frame["stationarity"].min() > AT_REST
    assert said.startswith("Undecided: 2 of 2 runs")
    frame = frame.assign(stationarity=1e-5)
    said = dict(page.findings(frame).verdicts)["Do the forces cancel at the end?"]
    assert said.startswith("Not in every layer and run")
    mean, least, most = (number_text(value) for value in (ends.mean(), ends.min(), ends.max()))
    assert f"{mean} ({least} to {most} over runs)" in said
    calm = frame.assign(**{f"imbalance_{layer}": 0.01 for layer in (1, 2, 3)})
    assert dict(page.findings(calm).verdicts)["Do the forces cancel at the end?"].startswith("Yes")
    flat = frame.assign(trace_separation_1=[[0.5, 0.4]] * 2, trace_separation_2=[[0.5, 0.4]] * 2)
    assert dict(page.findings(flat).verdicts)["Do classes part?"].startswith("No.")
    half = flat.assign(trace_separation_2=[[0.4, 0.5]] * 2)
    assert dict(page.findings(half).verdicts)["Do classes part?"].startswith("In 1 of 2 hidden layers.")


def test_without_classes_nothing_is_said_of_them(tmp_path):
    folder = run(tmp_path, data=TEACHER, cost="mse", hidden=[4], seeds=[0], snapshots=[])
    write_forces_report(folder)
    assert "Do classes part?" not in html(folder)
    assert "as discs" in html(folder)
    assert "End, step" not in html(folder)


def test_cautions_tell_what_is_off():
    calm = {"stationarity": [1e-5], "residual_share": [1e-9], "moved_share": [1e-9], "tikhonov": [0.0]}
    assert force_cautions(pd.DataFrame(calm), absent=0) == []
    off = {"stationarity": [1e-2], "residual_share": [0.1], "moved_share": [0.2], "tikhonov": [0.3]}
    found = force_cautions(pd.DataFrame(off), absent=2)
    for words in ("without a record: 2", "stationary point: 1", "Up to 10", "by up to 20", "Tikhonov"):
        assert sum(words in text for text in found) == 1


@pytest.mark.parametrize("damage", [b"no arrays", None])
def test_missing_or_damaged_arrays_are_told(folder, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in (copy / "snapshots").iterdir():
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
    with pytest.raises(ResultsError, match="does not hold the layers of a run"):
        write_forces_report(copy)


def layer():
    generator = np.random.default_rng(0)
    z = generator.normal(size=(3, 50))
    attraction = generator.normal(size=(3, 50))
    return Snapshot(7, z, attraction, -attraction)


def axes():
    return Figure().subplots()


def test_arrows_of_points_are_opposite_and_leave_no_sum():
    ax = points_and_forces(axes(), layer(), labels=np.arange(50) % 3)
    blue, red, black = (arrows for arrows in ax.collections if isinstance(arrows, Quiver))
    np.testing.assert_allclose(blue.U, -red.U)
    assert np.abs(blue.U).max() > 0
    assert not np.any([black.U, black.V])
    assert len(blue.U) == 25
    # One set of numerals per class.
    assert len(ax.collections) == 3 + 3


def test_neurons_have_a_ray_each():
    state = layer()
    ax = neurons_and_forces(axes(), state)
    rays = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert len(rays) == 3
    assert all((line.get_xdata()[0], line.get_ydata()[0]) == (0, 0) for line in rays)


def test_a_layer_without_forces_is_drawn():
    still = Snapshot(0, np.ones((2, 4)), np.zeros((2, 4)), np.zeros((2, 4)))
    points_and_forces(axes(), still)
    neurons_and_forces(axes(), still)
    with pytest.raises(ArgumentError, match="snapshot must have matrices of one shape"):
        neurons_and_forces(axes(), still._replace(repulsion=np.zeros((2, 3))))


def test_a_trace_marks_where_the_optimiser_changes():
    row = {
        "trace_step": [0, 1, 5, 9],
        "trace_stage": ["start", "gd", "adam", "finish"],
        "trace_loss": [4, 3, 2, 1],
    }
    ax = trace(axes(), pd.DataFrame([row]), {"loss": ("loss", Look("#000000", "o", "-"))})
    line, *marks = ax.lines
    assert list(line.get_ydata()) == [4, 3, 2, 1]
    assert [mark.get_xdata()[0] for mark in marks] == [1, 5]
    descent = {"trace_step": [0, 1], "trace_stage": ["start", "gd"], "trace_loss": [4, 3]}
    assert (
        len(trace(axes(), pd.DataFrame([descent]), {"loss": ("loss", Look("#000000", "o", "-"))}).lines) == 1
    )
