"""Nets of a sweep, trained and measured into rows, fits and a figure."""

import json

import pandas as pd
import pytest
import torch
import yaml

from datamodules import Digits
from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.nets import CNN, FCN
from diffstab.nets.initial import initial_weights
from diffstab.zoo.rows import read_table
from diffstab.zoo.training import named, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]

FCN_NET = {
    "class_path": "diffstab.nets.FCN",
    "init_args": {"in_features": 64, "hidden": [9], "out_features": 10},
}
CNN_NETS = [
    {"class_path": "diffstab.nets.CNN", "init_args": {"in_channels": 1, "channels": [c], "out_features": 10}}
    for c in (3, 5)
]
DEFORM = {
    "class_path": "diffstab.diffeo.augmentation.DeformationAugmentation",
    "init_args": {"cutoffs": [2, 3]},
}
ATTACK = {"class_path": "diffstab.training.adversarial.AdversarialImages", "init_args": {"radius": 0.5}}
FIXED = {
    "data": "datamodules.Digits",
    "data.init_args.size": 8,
    "data.init_args.n_test": 100,
    "data.init_args.labels": "classes",
    "data.init_args.normalisation": "none",
    "data.init_args.batch_size": 15,
    "model.net": FCN_NET,
    "model.xi": 0.0,
    "model.loss": "cross_entropy",
    "model.optimiser.name": "adam",
    "trainer.max_epochs": 1,
    "trainer.callbacks": [],
}


def write_sweep(path, swept, **changes):
    flags = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in FIXED.items()
    ]
    parameters = {name: {"value": value} for name, value in changes.items()}
    parameters |= {name: {"values": values} for name, values in swept.items()}
    content = {"method": "grid", "command": ["diffstab", "fit", *flags, "${args}"], "parameters": parameters}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Seven nets, trained, measured, fitted and drawn by one command."""
    root = tmp_path_factory.mktemp("zoo")
    nets = {"model.net": [FCN_NET, *CNN_NETS], "data.init_args.n_train": [20, 40]}
    write_sweep(root / "nets.yaml", nets)
    write_sweep(root / "attacked.yaml", {"model.net": [FCN_NET], "trainer.callbacks": [[ATTACK]]},
                **{"data.init_args.n_train": 40})  # fmt: skip
    files = [str(root / "nets.yaml"), str(root / "attacked.yaml")]
    with torch.random.fork_rng():
        options = ["--workers", "1", "--folder", str(root / "results"), "--to", str(root / "zoo.csv")]
        assert main(["zoo", "--train", *files, *options]) == 0
    return root


def test_a_row_says_what_was_trained(zoo):
    frame = pd.read_csv(zoo / "zoo.csv").set_index("model")
    assert sorted(frame.index) == [
        "CNN 3, n = 20, plain",
        "CNN 3, n = 40, plain",
        "CNN 5, n = 20, plain",
        "CNN 5, n = 40, plain",
        "FCN 9, n = 20, plain",
        "FCN 9, n = 40, adversarial radius 0.5",
        "FCN 9, n = 40, plain",
    ]
    row = frame.loc["FCN 9, n = 40, adversarial radius 0.5"]
    told = (row["architecture"], row["family"], row["n_train"], row["training"], row["n_test"], row["images"])
    assert told == ("FCN 9", "FCN", 40, "adversarial", 100, 500)
    assert (frame["R_low"] < frame["R"]).all()
    assert str(zoo) not in (zoo / "zoo.csv").read_text()


@pytest.mark.parametrize(
    ("label", "net"),
    [
        ("FCN 9, n = 40, plain", lambda: FCN(64, (9,), out_features=10)),
        ("CNN 3, n = 20, plain", lambda: CNN(1, (3,))),
    ],
)
def test_the_errors_are_those_of_the_weights_that_are_kept(zoo, label, net):
    row = pd.read_csv(zoo / "zoo.csv").set_index("model").loc[label]
    with initial_weights(0):
        module = net()
    file = json.loads(row["config"])["model"]["weights"].removeprefix("file ")
    module.load_state_dict(torch.load(zoo / "results" / "nets" / "weights" / file, weights_only=True))
    module.eval()
    for count, error in ((100, row["test_error"]), (None, None)):
        data = Digits(n_test=count, labels="classes", size=8, normalisation="none")
        data.setup()
        wrong = (module(data.test_images).argmax(1) != data.test_labels).float().mean()
        if error is not None:
            assert float(wrong) == pytest.approx(error, abs=1e-6)
        else:  # 500 of all 597 test images were measured
            assert 1 - row["accuracy_high"] < float(wrong) < 1 - row["accuracy_low"]


def test_a_trained_net_is_measured_again_to_the_bit(zoo, capsys):
    weights = str(zoo / "results" / "nets" / "weights")
    models = ["FCN 9, n = 20, plain", "CNN 5, n = 40, plain"]
    assert main(["replay", str(zoo / "zoo.csv"), "--weights", weights, "--model", *models]) == 0
    assert capsys.readouterr().out.count("the same to the bit") == 2


def test_adversarial_nets_are_drawn_and_not_fitted(zoo):
    fits = pd.read_csv(zoo / "zoo_fits.csv").set_index(["against", "models"])
    assert set(fits.index.get_level_values("against")) == {"R", "D", "G"}
    names = {"all models", "n_train 20", "n_train 40", "within n_train", "within architecture and training"}
    assert set(fits.loc["R"].index) == names
    assert fits.loc[("R", "all models"), "number"] == 6
    assert (zoo / "zoo.png").read_bytes().startswith(b"\x89PNG")


def test_trained_again_it_goes_on_with_what_there_is(zoo, capsys):
    before = read_table(zoo / "zoo.csv").drop(columns="config")
    options = ["--workers", "1", "--folder", str(zoo / "results"), "--to", str(zoo / "again.csv")]
    with torch.random.fork_rng():
        assert main(["zoo", "--train", str(zoo / "nets.yaml"), str(zoo / "attacked.yaml"), *options]) == 0
    assert "6 of 6 batches are recorded" in capsys.readouterr().err
    pd.testing.assert_frame_equal(read_table(zoo / "again.csv").drop(columns="config"), before)


@pytest.mark.parametrize(
    ("changes", "swept", "message"),
    [
        ({"data.init_args.labels": "parity"}, {}, r"data\.labels must be classes"),
        ({"data.init_args.normalisation": "standard"}, {}, r"data\.normalisation must be none"),
        ({"model.xi": 1.0}, {}, r"model\.xi must be 0"),
        ({"data.init_args.n_train": None}, {}, r"data\.n_train must be a number"),
        ({}, {"model.optimiser.learning_rate": [0.1, 0.2]}, "give nets that differ in architecture"),
    ],
)
def test_nets_that_no_table_can_hold_are_refused_before_they_are_trained(tmp_path, changes, swept, message):
    changes = {"data.init_args.n_train": 20, **changes}
    path = write_sweep(tmp_path / "nets.yaml", {"model.net": [FCN_NET], **swept}, **changes)
    with pytest.raises(ArgumentError, match=message):
        train(path, tmp_path / "results", workers=1)
    assert not (tmp_path / "results").exists()


def test_sweeps_of_other_commands_are_refused(tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        "method: grid\ncommand: [diffstab, plateau, '${args}']\nparameters: {penalty: {values: [0.1]}}\n"
    )
    with pytest.raises(ArgumentError, match="train must name sweeps of diffstab fit, got one of plateau"):
        train(tmp_path / "sweep.yaml", tmp_path / "results", workers=1)


def test_a_net_is_named_by_what_is_not_its_default():
    fcn = {"in_features": 784, "hidden": [9, 8], "activation": "relu", "beta": 5.0, "out_features": 10}
    assert named("diffstab.nets.FCN", fcn) == "FCN 9-8 relu"
    assert named("diffstab.nets.FCN", {"in_features": 784, "hidden": [1000]}) == "FCN"
    resnet = {"in_channels": 1, "depth": 8, "width": 16}
    assert named("diffstab.nets.ResNet", resnet) == "ResNet depth 8"
    assert named("diffstab.nets.VGG", {"in_channels": 1, "batch_norm": False}) == "VGG no batch_norm"
