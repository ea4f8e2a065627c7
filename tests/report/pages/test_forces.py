import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.claims.judging import judge_records
from diffstab.report.page import lead, write_report
from diffstab.report.pages import page_of
from diffstab.report.pages.forces import cautions, courses, prepare, size_rows, trace_rows, varied
from diffstab.report.runs import Runs
from diffstab.report.special.forces import Snapshot, neurons_and_forces, points_and_forces
from tests.references.force_records import force_row, write_force_records


def runs_of(seeds=(0, 1, 2), **options):
    records = pd.DataFrame([force_row(seed, **options) for seed in seeds])
    return Runs("forces", prepare(records, {}))


def test_the_page_stands_alone_with_its_figures_beside(tmp_path):
    page = write_report(write_force_records(tmp_path / "run", config="gd_steps: 20\n"))
    names = {path.name for path in (page.parent / "figures").iterdir()}
    stems = {"imbalance", "layer1-forces", "layer2-forces", "force_sizes", "structure", "loss_vs_step"}
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}
    assert "gd_steps: 20" in page.read_text()


def answer(runs):
    section = lead(page_of("forces"), runs, judge_records(runs.frame, "forces"))
    return dict(section.verdicts)["Answer"]


def test_the_answer_is_that_of_the_judge():
    said = answer(runs_of())
    assert said.startswith("The forces on each layer cancel: the largest imbalance at the end")
    assert "Classes move apart in every hidden layer" in said
    assert "Neurons line up in every hidden layer" in said
    assert said.count("3 draws") == 3
    assert answer(runs_of(imbalance=0.2)).startswith("The forces do not cancel: ")
    moving = runs_of()
    moving = moving._replace(frame=moving.frame.assign(stationarity=[1e-2, 1e-5, 1e-5]))
    told = answer(moving)
    assert told.startswith("It cannot be told whether the forces on each layer cancel: ")
    assert "1 of 3 nets were not at rest." in told


def test_classes_and_neurons_are_told_of_where_there_are_any():
    parted, lined, rays = courses(runs_of())
    assert parted.startswith("The share of the scatter that lies between classes goes from 20 % to 8")
    assert "within 5° of another one goes from 0 % to 9" in lined
    assert rays.startswith("The number of rays goes from")
    assert len(courses(runs_of(has_classes=False))) == 2


def test_cautions_tell_what_is_off():
    assert cautions(runs_of()) == []
    off = {"residual_share": 0.1, "moved_share": 0.2, "tikhonov": 0.3}
    runs = runs_of((0,))
    found = cautions(runs._replace(frame=runs.frame.assign(**off)))
    for words in ("Up to 10", "Up to 20", "Tikhonov"):
        assert sum(words in text for text in found) == 1
    assert "3 draws" in varied(runs_of())


@pytest.mark.parametrize("damage", [b"no arrays", None])
def test_missing_or_damaged_arrays_are_told(tmp_path, damage):
    folder = write_force_records(tmp_path / "run")
    for path in (folder / "snapshots").iterdir():
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
    with pytest.raises(ResultsError, match="does not hold the layers of a run"):
        write_report(folder)
    shutil.rmtree(folder)


def test_a_trace_has_a_row_per_seed_layer_and_step_and_knows_its_stages():
    frame = runs_of().frame
    trace = trace_rows(frame)
    assert len(trace) == 3 * 3 * 4
    assert set(trace["adam_begins"]) == {1.0}
    assert set(trace["finish_begins"]) == {8.0}
    first = trace[(trace["seed"] == 0) & (trace["layer"] == "layer 2")]
    assert list(first["imbalance"]) == frame["trace_imbalance_2"][0]
    assert set(size_rows(frame)["force"]) == {"attraction", "repulsion"}
    short = frame.assign(trace_stage=[["start", "gd", "gd", "gd"]] * 3)
    assert trace_rows(short)["adam_begins"].isna().all()


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
