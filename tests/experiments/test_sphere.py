import pytest

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.sphere import SphereExperiment, SphereMethod
from diffstab.grid.running import run_grid
from diffstab.results import read_records
from tests.references.grids import QUIET

FIELD = {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": 1.5}}


def tiny(**changes):
    settings = {"dimensions": [2], "n_train": [6], "seeds": [0, 1], "n_test": 100, "degrees": 6}
    return SphereExperiment(**{**settings, "spectrum_points": 50, **changes})


def test_one_record_a_run(tmp_path):
    run_grid(tiny(targets=[FIELD]), tmp_path, console=QUIET)
    frame = read_records(tmp_path)
    assert len(frame) == 4
    assert frame["key"].is_unique
    assert set(frame["regime"]) == {"lazy", "feature"}
    assert frame["test_error"].gt(0).all()
    assert frame[frame["method"] == "lazy_ntk"]["solver"].eq("cholesky").all()


def test_a_larger_grid_keeps_the_records_that_are_there(tmp_path):
    run_grid(tiny(seeds=[0]), tmp_path, console=QUIET)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    more = {"ridge": SphereMethod(ridge=0.1), **tiny().methods}
    wide = tiny(targets=[*tiny().targets, FIELD], dimensions=[2, 3], n_train=[6, 8], methods=more)
    run_grid(wide, tmp_path, console=QUIET)
    assert len(read_records(tmp_path)) == len(list(wide.cells())) == 2 * 2 * 2 * 2 * 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_single_sizes_take_further_seeds():
    experiment = tiny(n_train=[6, 8], more_seeds={6: [3]}, methods={"lazy_ntk": SphereMethod()})
    assert [(cell["n_train"], cell["seed"]) for cell in experiment.cells()] == [
        *((6, seed) for seed in (0, 1, 3)),
        *((8, seed) for seed in (0, 1)),
    ]
    without = tiny(n_train=[6, 8], methods={"lazy_ntk": SphereMethod()})
    assert {without.key(cell) for cell in without.cells()} < {
        experiment.key(cell) for cell in experiment.cells()
    }
    assert experiment.resolved()["more_seeds"] == {"6": [3]}
    with pytest.raises(ArgumentError, match="more_seeds must name sizes of n_train, got 7"):
        tiny(more_seeds={7: [3]})


def test_the_folder_of_another_configuration_is_left_alone(tmp_path):
    run_grid(tiny(seeds=[0]), tmp_path, console=QUIET)
    with pytest.raises(ResultsError, match=r"another configuration.*n_test \(100 there, 200 now\)"):
        run_grid(tiny(n_test=200), tmp_path, console=QUIET)
    assert len(read_records(tmp_path)) == 2
