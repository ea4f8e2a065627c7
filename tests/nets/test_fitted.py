"""A run of `diffstab fit` as a model: class, weights, normalisation of its data; each missing piece is named."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from datamodules import Digits, ImageFolder
from diffstab.cli import main
from diffstab.errors import ArgumentError, DataError
from diffstab.nets import CentredOutput, load_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]

FIT = ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
NET = ["--model.net=diffstab.nets.FCN", "--model.net.in_features=784", "--model.net.hidden=[8]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in the papers' normalisation with F = f - f_0; made once, never changed."""
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = ["--data=datamodules.Digits", "--data.n_train=64", "--data.labels=classes"]
        model = [
            *NET,
            "--model.net.out_features=10",
            "--model.loss=cross_entropy",
            "--model.optimiser.name=adam",
        ]
        assert main(["fit", *model, *data, *FIT]) == 0
    return folder / "results" / "fit" / "version_0"


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def change(folder, **parts):
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for name, value in parts.items():
        *above, last = name.split("__")
        place = config
        for key in above:
            place = place[key]
        place[last] = value
    path.write_text(yaml.safe_dump(config))


def seen(**options):
    data = Digits(n_test=20, labels="classes", **options)
    data.setup()
    return data.test_images


@pytest.mark.parametrize("place", ["", "checkpoints/final.ckpt"])
def test_a_run_is_the_predictor_on_images_as_it_saw_them(run, place):
    model = load_model(str(run / place))
    assert isinstance(model.module, CentredOutput)
    assert (model.name, model.weights) == ("version_0", "final.ckpt")
    with torch.no_grad():
        found = model(seen(normalisation="none"))
        direct = model.module(seen(normalisation="sphere"))
    torch.testing.assert_close(found, direct, rtol=1e-4, atol=1e-5)
    assert float(found.abs().max()) > 0
    state = torch.load(run / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, state[f"predictor.{name}"])


def test_before_training_it_is_the_initial_net(run):
    start = load_model(str(run), untrained=True)
    state = torch.load(run / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]
    for name, value in start.module.state_dict().items():
        assert torch.equal(value, state[f"predictor.initial.{name}"])
    assert not start.is_trained


def test_without_a_centre_the_net_itself_is_measured(copy):
    change(copy, model__xi=0.0)
    model = load_model(str(copy))
    assert not isinstance(model.module, CentredOutput)


@pytest.mark.parametrize("normalisation", ["none", "standard"])
@pytest.mark.parametrize("size", [None, 12])
def test_the_normalisation_is_that_of_the_data(copy, normalisation, size):
    change(copy, data__init_args__normalisation=normalisation, data__init_args__size=size)
    found = load_model(str(copy)).preprocessing(
        seen(normalisation="none", size=None)
    )  # 8 px, as they are stored
    torch.testing.assert_close(found, seen(normalisation=normalisation, size=size), rtol=1e-4, atol=1e-4)


def test_it_is_measured_with_and_without_training(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = [
        "--model",
        str(run),
        "--init",
        "--data",
        "datamodules.Digits",
        "--images",
        "30",
        "--layers",
        "output",
    ]
    assert main(["measure", *args, "--accelerator", "cpu", "--results", "out", "--json"]) == 0
    from diffstab.results import read_records

    records = read_records("out").set_index("model")
    assert set(records.index) == {"version_0", "version_0 (untrained)"}
    assert np.isfinite(records["R"]).all()


def test_bad_and_missing_pieces_are_named(copy, tmp_path):
    with pytest.raises(ArgumentError, match=r"init_args must be left out: the run .* is a whole model"):
        load_model(str(copy), init_args={"hidden": [3]})
    (copy / "checkpoints" / "final.ckpt").rename(copy / "a.ckpt")
    for path in (copy / "checkpoints").glob("*.ckpt"):
        path.unlink()
    with pytest.raises(DataError, match=r"no final\.ckpt, and of others none"):
        load_model(str(copy))
    (copy / "a.ckpt").rename(copy / "checkpoints" / "a.ckpt")
    assert load_model(str(copy)).weights == "a.ckpt"
    (copy / "checkpoints" / "b.ckpt").write_bytes(b"no")
    with pytest.raises(DataError, match=r"no final\.ckpt, and of others a\.ckpt, b\.ckpt"):
        load_model(str(copy))
    with pytest.raises(DataError, match="damaged"):
        load_model(str(copy / "checkpoints" / "b.ckpt"))
    change(copy, data__class_path="torch.nn.Identity", data__init_args={})
    with pytest.raises(
        ArgumentError, match=r"trained on data whose normalisation is known, got torch\.nn\.Identity"
    ):
        load_model(str(copy / "checkpoints" / "a.ckpt"))
    change(
        copy, model__net={"class_path": "diffstab.nets.CNN", "init_args": {"in_channels": 1, "channels": [4]}}
    )
    with pytest.raises(ArgumentError, match="weights must be those of the model"):
        load_model(str(copy / "checkpoints" / "a.ckpt"))
    change(copy, model={"targets": 3})
    with pytest.raises(
        ArgumentError, match=r"model must have a net with class_path in its run, got .*targets"
    ):
        load_model(str(copy / "checkpoints" / "a.ckpt"))
    (copy / "config.yaml").write_text("model: [")
    with pytest.raises(DataError, match="configuration of the run is damaged"):
        load_model(str(copy))
    (copy / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"it has no config\.yaml"):
        load_model(str(copy))


def test_data_that_are_gone_are_named(copy, tmp_path):
    options = {"folder": "gone", "root": str(tmp_path), "labels": "classes", "normalisation": "standard"}
    change(copy, data={"class_path": f"datamodules.{ImageFolder.__name__}", "init_args": options})
    with pytest.raises(DataError, match="gone"):
        load_model(str(copy))
