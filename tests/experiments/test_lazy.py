"""The exact lazy limit as an experiment: its numbers, its files, its configurations and its page."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from datamodules import Digits
from diffstab.errors import ArgumentError
from diffstab.experiments.images import StabilityChoice
from diffstab.experiments.lazy import LazyExperiment, class_targets
from diffstab.experiments.unit import Cell, Workplace
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.kernels import NTKRegressor, as_predictor
from diffstab.report.page import write_report
from diffstab.results import read_records
from diffstab.stability import measure_stability
from diffstab.streams import integer_seed

QUIET = Console(quiet=True)
FILES = sorted((Path(__file__).parents[2] / "configs" / "lazy").glob("*.yaml"))
DATA = {"class_path": "datamodules.Digits", "init_args": {"size": 8}}
FAST = StabilityChoice(delta_px=0.3, images=20, fields_per_image=1, bootstrap=10)


def tiny(**changes):
    return LazyExperiment(
        **{"data": DATA, "n_train": [40], "ridges": [1e-1, 1e-3], "stability": FAST, **changes}
    )


def data_of(n_train, seed=0):
    data = Digits(n_train=n_train, seed=seed, size=8, labels="classes")
    data.setup()
    return data


def test_targets_are_a_column_per_class_and_the_parity():
    found = class_targets(torch.tensor([0, 3, 1, 2]))
    assert found[:, :4] + 0.25 == pytest.approx(np.eye(4)[[0, 3, 1, 2]])
    assert found[:, 4].tolist() == [1, -1, -1, 1]


def test_a_record_is_that_of_ridge_regression_in_full(place):
    run_grid(tiny(depths=[2]), place, console=QUIET)
    frame, data = read_records(place), data_of(40)
    assert len(frame) == 4
    targets = class_targets(data.train_classes)
    x, test = data.train_images, data.test_images
    mean = float((x.flatten(1).double().square().sum(dim=1) / 64).mean()) * 3 / 4  # (depth + 1) / 2^depth
    seed = integer_seed(0, "deformations of the lazy limit", below=2**63)
    for row in frame.itertuples():
        part = targets[:, :-1] if row.labels == "classes" else targets[:, -1]
        model = NTKRegressor(depth=2, ridge=row.ridge * mean).fit(x.flatten(1), part)
        predict = as_predictor(model)
        for name, images, classes in (("test", test, data.test_classes), ("train", x, data.train_classes)):
            found = predict(images)
            right = found.argmax(dim=1) == classes if found.ndim == 2 else (found > 0) == (classes % 2 == 0)
            wrong = ~right
            assert getattr(row, f"{name}_error") == pytest.approx(float(wrong.double().mean()), abs=2e-3)
        options = {"deform": FAST.deform, "bootstrap": 0, "seed": seed}
        report = measure_stability(predict, test[:20], **options).estimate
        assert pytest.approx(float(report.deformation), rel=1e-2) == row.D
        assert pytest.approx(float(report.noise), rel=1e-2) == row.G
        assert row.D_low <= row.D <= row.D_high
        assert row.test_error_low <= row.test_error <= row.test_error_high
        assert row.relative_residual <= 1e-4
        assert row.exact_residual < 2e-4


def test_files_of_a_run_go_when_it_has_ended(place):
    run_grid(tiny(), place / "a", console=QUIET)
    assert not list((place / "a" / "matrices").iterdir())
    run_grid(tiny(scratch=str(place / "scratch")), place / "b", console=QUIET)
    assert not (place / "b" / "matrices").exists()
    assert not list((place / "scratch").iterdir())


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_from_its_files(place):
    experiment = tiny(rank=3)
    cells = next(iter(experiment.batches()))

    def tell(values):
        if values.get("steps") == 2:
            raise Killed

    workplace = Workplace(place, {cell: experiment.key(cell) for cell in cells}, tell)
    shared = experiment.prepare(cells[0])
    with pytest.raises(Killed):
        list(experiment.run_together(cells, shared, workplace))
    (folder,) = (place / "matrices").iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(before) == 1
    kept = []
    workplace = workplace._replace(
        tell=lambda values: kept.extend(path.stat().st_mtime_ns for path in folder.glob("*.npy"))
    )
    rows = list(experiment.run_together(cells, shared, workplace))
    assert set(kept) == set(before.values())
    assert len(rows) == 4
    assert {cell["labels"] for cell, _ in rows} == {"classes", "parity"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_runs_in_small(path, place):
    experiment, folder, *_ = parse(LazyExperiment, ["--config", str(path)])
    assert folder == Path("results") / f"lazy_{path.stem}"
    small = {"data": DATA, "n_train": [30], "seeds": [0], "depths": experiment.depths[-1:], "stability": FAST}
    run_grid(dataclasses.replace(experiment, **small), place, console=QUIET)
    assert len(read_records(place)) == 2 * len(experiment.ridges)
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"diffstab lazy --config configs/lazy/{path.name}" in line for line in header)
    assert any("Time:" in line for line in header)
    assert any("Expected:" in line for line in header)


@pytest.mark.data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_data_of_a_configuration_are_there(path, data_root):
    experiment, *_ = parse(LazyExperiment, ["--config", str(path)])
    data = {**experiment.data, "init_args": {"root": str(data_root)}}
    size = max(experiment.n_train)
    found = dataclasses.replace(experiment, data=data).prepare(Cell(n_train=size, seed=0, depth=1))
    assert len(found.train_images) == size
    assert len(found.test_images) == 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["colour"]}, "labels must be among classes, parity"),
        ({"labels": []}, "labels must not be empty"),
        ({"ridges": [-1.0]}, "ridges must be different finite numbers >= 0"),
        ({"ridges": [1e-2, 1e-2]}, "ridges must hold each value once"),
        ({"depths": [0]}, "depths must hold different numbers of at least 1"),
        ({"kernel": "rbf"}, "kernel must be ntk or random_feature, got 'rbf'"),
        ({"tolerance": 2.0}, "tolerance must lie strictly between 0 and 1"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        tiny(**options)


def test_more_images_than_there_are_are_refused_before_anything_is_made(place):
    with pytest.raises(ArgumentError, match="n_train must be at most"):
        run_grid(tiny(n_train=[10**6]), place / "results", console=QUIET)
    assert not (place / "results").exists()


@pytest.mark.parametrize("changes", [{"depths": [1, 2]}, {"n_train": [20, 40]}, {"ridges": [0.0, 1e-2]}])
def test_the_page_says_error_stability_and_how_exactly_it_was_solved(place, changes):
    run_grid(tiny(**changes), place, console=QUIET)
    page = write_report(place).read_text()
    assert "The exact lazy limit on Digits" in page
    assert "With 40 training images: On Digits the least test error in the class is" in page
    assert "in the parity of the class is" in page
    assert "method (" not in page
    assert "CPU seconds" in page
