"""A comparison of any nets on class labels, from a configuration alone."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from diffstab.errors import ArgumentError, RunError
from diffstab.experiments.images import ImageExperiment, Method, NetChoice
from diffstab.experiments.unit import Cell
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.report.page import write_report
from diffstab.results import Records, read_records
from diffstab.solvers.optimise import OptimiserSettings

CONFIG = Path(__file__).parents[2] / "configs" / "experiment" / "digits_classes.yaml"
CNN = {"class_path": "diffstab.nets.CNN", "init_args": {"channels": [4], "out_features": 10}}
SGD = ("sgd", "adam")
QUIET = Console(quiet=True)


def asked(*args):
    small = ["--n_train=[40]", "--seeds=[0,1]", "--net.hidden=[10]", "--stability.images=20"]
    return parse(ImageExperiment, ["--config", str(CONFIG), *small, *args]).experiment


def test_a_cnn_beside_a_fully_connected_net(tmp_path):
    experiment = asked("--stability.bootstrap=20", "--data.init_args.n_test=60")
    run_grid(experiment, tmp_path, console=QUIET)
    frame = read_records(tmp_path).set_index("method").sort_index()
    assert set(frame.index) == {"cnn", "fcn"}
    for column in ("test_error", "train_error", "D", "G", "R", "init_R"):
        assert frame[column].notna().all(), column
    assert frame["test_error"].between(0, 0.95).all()
    assert frame.loc["fcn", "n_atoms"].ge(1).all()
    assert frame.loc["cnn", "n_atoms"].isna().all()
    assert "kernel_drift" not in frame
    page = write_report(tmp_path)
    assert "cnn" in page.read_text()


def test_nets_alone_without_sparsity(tmp_path):
    methods = {"cnn": asked().methods["cnn"]}
    path = tmp_path / "cnn.yaml"
    path.write_text(yaml.safe_dump({**asked("--data.init_args.n_test=30").resolved(), "seeds": [0]}))
    experiment = parse(ImageExperiment, ["--config", str(path)]).experiment
    assert experiment.methods["cnn"] == methods["cnn"]
    alone = ImageExperiment(**{**vars(experiment), "methods": methods})
    run_grid(alone, tmp_path / "results", console=QUIET)
    frame = read_records(tmp_path / "results")
    assert not {"n_atoms", "kernel_drift", "neurons_x"} & set(frame.columns)
    assert write_report(tmp_path / "results").exists()


def test_the_net_of_all_methods_may_be_of_any_class(tmp_path):
    path = tmp_path / "cnn.yaml"
    methods = {name: {"trainer": name, "alpha": 1.0, "optimiser": {"stop": {"max_steps": 2}}} for name in SGD}
    config = asked("--data.init_args.n_test=30").resolved() | {"net": CNN, "methods": methods, "seeds": [0]}
    path.write_text(yaml.safe_dump(config))
    args = ["--config", str(path), "--net.init_args.in_channels=1"]
    experiment = parse(ImageExperiment, args).experiment
    assert experiment.net.described == {**CNN, "init_args": {**CNN["init_args"], "in_channels": 1}}
    run_grid(experiment, tmp_path / "results", console=QUIET)
    frame = read_records(tmp_path / "results")
    assert set(frame["method"]) == set(SGD)
    # The same initial net, and no columns of fully-connected ones.
    assert frame["init_R"].nunique() == 1
    assert "n_atoms" not in frame
    again = parse(ImageExperiment, ["--config", str(tmp_path / "results" / "config.yaml")]).experiment
    assert again == experiment
    (cell, *_) = experiment.cells()
    assert dataclasses.replace(again, net=NetChoice()).key(cell) != again.key(cell) == experiment.key(cell)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"class_path": "torch.nn.Nothing"}, r"net\.class_path must name an importable class"),
        ({"class_path": "diffstab.nets.CNN", "init_args": {"width": 3}}, r"net\.init_args must be among"),
        ({"init_args": {"width": 3}}, r"net\.init_args must stand beside a class_path"),
    ],
)
def test_a_wrong_net_of_all_methods_is_refused(net, message):
    with pytest.raises(ArgumentError, match=message):
        parse(ImageExperiment, [f"--net={json.dumps(net)}"])


def test_kernels_are_the_limit_of_fully_connected_nets():
    with pytest.raises(ArgumentError, match="net must be fully connected for lazy_exact"):
        ImageExperiment(net=NetChoice(**CNN))


def test_a_seed_gives_a_net_of_ones_own_the_same_weights():
    from datamodules import Digits
    from diffstab.experiments.image_training import train

    experiment = asked("--methods.cnn.optimiser.stop.max_steps=1")
    data = Digits(n_train=40, n_test=10, size=8, labels="classes")
    data.setup()
    first, again, other = (
        train(experiment, Cell(method="cnn", n_train=40, seed=seed), data).models[0].initial
        for seed in (0, 0, 1)
    )
    weights = [net.head.weight.flatten().tolist() for net in (first, again, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_names_of_records_stay_where_nothing_new_is_asked_for():
    experiment = ImageExperiment(methods={"a": Method()})
    (cell, *_) = experiment.cells()
    assert "net" not in experiment.settings(cell)["settings"]
    assert set(experiment.settings(cell)) == {"n_train", "seed", "method", "settings"}
    assert ImageExperiment(methods={"a": Method()}, accelerator="auto").key(cell) == experiment.key(cell)
    assert ImageExperiment(methods={"a": Method()}, precision="bf16-mixed").key(cell) != experiment.key(cell)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--data.init_args.labels=parity"], r"data\.init_args\.labels must be 'classes' for cross_entropy"),
        (["--loss=mse"], r"data\.init_args\.labels must be 'parity' for mse, got class indices"),
        (["--devices=2"], "devices must be one for each run|trainer must fit this machine"),
        (["--accelerator=gpuu"], "trainer must fit this machine and itself"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, args, message):
    with pytest.raises((ArgumentError, RunError)) as caught:
        run_grid(asked(*args), tmp_path / "results", console=QUIET)
    failures = Records(tmp_path / "results").failures() if isinstance(caught.value, RunError) else {}
    assert re.search(message, "\n".join([str(caught.value), *(one.reason for one in failures.values())]))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            {"net": {"class_path": "torch.nn.Nothing"}},
            r"methods\.\*\.net\.class_path must name an importable",
        ),
        (
            {"net": {**CNN, "init_args": {"width": 3}}},
            r"methods\.\*\.net\.init_args must be among .*channels",
        ),
        ({"net": {"init_args": {}}}, r"methods\.\*\.net must have the keys class_path"),
        ({"net": CNN, "trainer": "svc"}, r"methods\.\*\.net must be null for svc"),
    ],
)
def test_wrong_nets_are_refused(method, message):
    with pytest.raises(ArgumentError, match=message):
        Method(**method)


def test_kernels_take_two_classes():
    methods = {"a": Method(trainer="kernel_flow", optimiser=OptimiserSettings())}
    with pytest.raises(ArgumentError, match="loss must be one of two classes for a"):
        ImageExperiment(methods=methods, loss="cross_entropy")
