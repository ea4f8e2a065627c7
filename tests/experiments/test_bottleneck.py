"""Ranks that deep nets find, and the Hamiltonian along leaky ResNets, as records."""

import pytest
import torch
from rich.console import Console

from datamodules.regression import RegressionData, RegressionDataModule
from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class
from diffstab.experiments.bottleneck import BottleneckExperiment
from diffstab.experiments.leaky import LeakyExperiment
from diffstab.grid.running import run_grid
from diffstab.l2.descent import DescentSettings
from diffstab.report.page import write_report
from diffstab.results import read_records

QUIET = Console(quiet=True)
FAST = DescentSettings(adam_steps=200, finish_steps=200)
SMALL = {"inputs": 3, "hidden": 4, "outputs": 2, "n_test": 20}
TEACHER = {"class_path": "datamodules.TeacherNetwork"}
COMPOSED = {"class_path": "datamodules.ComposedTeacher", "init_args": SMALL}


class LinearMap(RegressionDataModule):
    """y = U V x with singular values 1, through `inner` numbers."""

    name = "linear_map"

    def __init__(self, *, inner: int, n_train: int = 30, seed: int = 0) -> None:
        super().__init__(n_train=n_train, seed=seed)
        self.inner = inner

    def draw(self) -> RegressionData:
        draws = torch.Generator().manual_seed(self.seed)
        inputs, _ = torch.linalg.qr(torch.randn(self.n_train, 5, generator=draws, dtype=torch.float64))
        turns, _ = torch.linalg.qr(torch.randn(5, 5, generator=draws, dtype=torch.float64))
        inputs = inputs * self.n_train**0.5
        return RegressionData(inputs, inputs @ turns[:, : self.inner] @ turns[: self.inner])


def test_deep_linear_nets_find_the_rank_of_a_linear_map(tmp_path):
    """Their least norm is L times the sum of s^(2/L) over its singular values, with L layers of its rank."""
    data = {"class_path": f"{__name__}.LinearMap"}
    settings = {"activation": "linear", "bias": 0.0, "depth": 4, "width": 6, "n_train": 30, "penalty": 1e-5}
    descent = DescentSettings(adam_steps=1000, finish_steps=1000, learning_rate=0.01, tolerance=1e-8)
    run_grid(
        BottleneckExperiment(data=data, inner=[1, 2], descent=descent, **settings), tmp_path, console=QUIET
    )
    frame = read_records(tmp_path).sort_values("inner")
    assert frame["bottleneck_rank"].tolist() == [1, 2]
    for row in frame.itertuples():
        assert list(row.rank_by_layer) == [row.inner] * 3
        data = LinearMap(inner=row.inner)
        data.setup()
        values = torch.linalg.svdvals(torch.linalg.lstsq(data.train_inputs, data.train_targets).solution)
        least = 4 * float(values[: row.inner].pow(2 / 4).sum())
        assert row.squared_norm == pytest.approx(least, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "data", "options", "heading"),
    [
        ("bottleneck", COMPOSED, {"inner": [1, 2], "depth": 3, "width": 4}, "Least rank of a layer"),
        ("leaky", TEACHER, {"depths": [3, 6], "width": 3, "restarts": 2}, "Drift of the Hamiltonian"),
    ],
    ids=["bottleneck", "leaky"],
)
def test_records_have_a_page_and_each_place_its_own_draws(name, data, options, heading, tmp_path):
    experiment = experiment_class(name)(data=data, seeds=[0, 1], n_train=10, descent=FAST, **options)
    run_grid(experiment, tmp_path, console=QUIET)
    frame = read_records(tmp_path)
    assert len(frame) == len(list(experiment.cells()))
    assert frame["loss"].is_unique
    assert (frame["loss"] > frame["cost"]).all()
    assert frame["test_error"].notna().all()
    text = write_report(tmp_path).read_text()
    assert heading in text


def test_a_deeper_leaky_net_goes_on_from_the_shallower_one(tmp_path):
    options = {"data": TEACHER, "n_train": 10, "width": 3, "restarts": 1, "descent": FAST}
    run_grid(LeakyExperiment(depths=[4, 8], **options), tmp_path / "both", console=QUIET)
    run_grid(LeakyExperiment(depths=[4], **options), tmp_path / "one", console=QUIET)
    both, one = (read_records(tmp_path / name).sort_values("layers") for name in ("both", "one"))
    assert both["loss"].iloc[0] == pytest.approx(one["loss"].iloc[0], rel=1e-9)
    assert len(both["hamiltonian_by_layer"].iloc[1]) == 9


@pytest.mark.parametrize(
    ("kind", "options", "word"),
    [
        (BottleneckExperiment, {"rank_tolerance": 1.0}, "rank_tolerance"),
        (BottleneckExperiment, {"penalty": 0.0}, "penalty"),
        (BottleneckExperiment, {"inner": [0]}, "inner"),
        (BottleneckExperiment, {"depth": 1}, "depth"),
        (LeakyExperiment, {"effective_depth": 9.0}, "effective_depth"),
        (LeakyExperiment, {"depths": []}, "depths"),
        (LeakyExperiment, {"penalty": 0.0}, "penalty"),
        (LeakyExperiment, {"rank_tolerance": 0.0}, "rank_tolerance"),
    ],
)
def test_bad_settings_are_refused(kind, options, word):
    with pytest.raises(ArgumentError, match=word):
        kind(**options)
