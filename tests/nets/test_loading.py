"""Anybody's model by a short text; each wrong thing is told in one line."""

import pickle

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, DataError
from diffstab.nets import CNN, ModelChoice, Preprocessing, load_model, weights_hash
from diffstab.nets.initial import initial_weights
from diffstab.training.task import Task
from tests.references.models import READY, Lit

HERE = "tests.references.models"
SMALL = {"in_channels": 3, "channels": [4]}


@pytest.fixture
def images(generator):
    return torch.rand(3, 3, 16, 16, generator=generator)


@pytest.fixture
def net():
    with initial_weights(7):
        return CNN(3, (4,)).eval()


@pytest.fixture
def file(net, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    return path


def test_a_class_with_its_weights(net, file, images):
    model = load_model("diffstab.nets:CNN", init_args=SMALL, weights=file)
    torch.testing.assert_close(model(images), net(images))
    assert (model.name, model.weights, model.has_layers, model.notes) == ("CNN", "weights.pth", True, ())
    assert model.is_trained
    assert not model.module.training
    assert model.weights_hash == weights_hash(net.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "predictor.net."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_prefixes_of_wrappers_are_taken_off_and_told(prefix, key, net, images, tmp_path):
    state = {prefix + name: value for name, value in net.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pt")
    model = load_model("diffstab.nets:CNN", init_args=SMALL, weights=tmp_path / "w.pt")
    torch.testing.assert_close(model(images), net(images))
    assert model.notes == (f"{prefix!r} was taken off the names in w.pt.",)


def test_a_prefix_stays_where_not_all_names_fit(net, tmp_path):
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    torch.save({**state, "other.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(ArgumentError, match=r"weights must be those of the model.*'other.weight'"):
        load_model("diffstab.nets:CNN", init_args=SMALL, weights=tmp_path / "w.pt")


def test_the_same_factory_with_and_without_weights(net, file, images):
    choice = {"init_args": SMALL, "weights": file, "preprocessing": {"mean": 0.5}}
    trained = load_model("diffstab.nets:CNN", **choice)
    start, again = (load_model("diffstab.nets:CNN", untrained=True, **choice) for _ in range(2))
    other = load_model("diffstab.nets:CNN", untrained=True, seed=1, **choice)
    assert start.weights_hash == again.weights_hash
    assert len({model.weights_hash for model in (trained, start, other)}) == 3
    assert start.preprocessing == trained.preprocessing == Preprocessing(mean=0.5)
    assert (start.is_trained, trained.is_trained) == (False, True)
    torch.testing.assert_close(trained(images), net(images - 0.5))


def test_the_hash_is_of_names_shapes_types_and_values(net):
    state = net.state_dict()
    assert weights_hash(dict(reversed(state.items()))) == weights_hash(state)
    changed = {**state, "head.bias": state["head.bias"] + 1e-6}
    renamed = {name.replace("head", "tail"): value for name, value in state.items()}
    reshaped = {**state, "head.bias": state["head.bias"][None]}
    double = {**state, "head.bias": state["head.bias"].double()}
    assert len({weights_hash(one) for one in (state, changed, renamed, reshaped, double)}) == 5


def test_a_lightning_checkpoint_brings_its_arguments(images, tmp_path):
    with initial_weights(1):
        module = Lit(6).eval()
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": {**module.hparams, "_instantiator": "x"},
        "pytorch-lightning_version": "2.6.0",
    }
    torch.save(content, tmp_path / "last.ckpt")
    model = load_model(f"{HERE}:Lit", weights=tmp_path / "last.ckpt")
    torch.testing.assert_close(model(images), module(images))
    with pytest.raises(
        ArgumentError, match=r"'model.features.0.bias' has shape \(6,\), the model's has \(2,\)"
    ):
        load_model(f"{HERE}:Lit", init_args={"channels": 2}, weights=tmp_path / "last.ckpt")


def test_the_net_alone_out_of_a_lightning_checkpoint(images, tmp_path):
    with initial_weights(1):
        module = Lit(6).eval()
    torch.save({"state_dict": module.state_dict(), "pytorch-lightning_version": "2.6.0"}, tmp_path / "a.ckpt")
    init_args = {**SMALL, "channels": [6], "out_features": 5}
    model = load_model("diffstab.nets:CNN", init_args=init_args, weights=tmp_path / "a.ckpt")
    torch.testing.assert_close(model(images), module(images))
    assert model.notes == (
        "'model.' was taken off the names in a.ckpt.",
        "a.ckpt holds more than the model: seen.",
    )


def test_arguments_that_are_described_are_made_first(images):
    inner = {"class_path": "diffstab.nets.CNN", "init_args": SMALL}
    model = load_model("diffstab.nets:CentredOutput", init_args={"net": inner, "xi": 0.0, "alpha": 2.0})
    plain = load_model("diffstab.nets:CNN", init_args=SMALL)
    torch.testing.assert_close(model(images), 2 * plain(images))


def test_a_dtype_is_a_name(generator):
    model = load_model("diffstab.nets:FCN", init_args={"in_features": 12, "dtype": "float64"})
    assert (
        model(torch.rand(2, 12, dtype=torch.float64, generator=generator)[:, None, None]).dtype
        == torch.float64
    )


def test_a_checkpoint_of_this_project_is_the_net_or_the_centred_predictor(images, tmp_path):
    with initial_weights(3):
        task = Task(CNN(3, (4,)), alpha=2.0, xi=1.0, loss="cross_entropy").eval()
    with torch.no_grad():
        for parameter in task.predictor.net.parameters():
            parameter.mul_(1.5)
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, tmp_path / "final.ckpt")
    net = load_model("diffstab.nets:CNN", init_args=SMALL, weights=tmp_path / "final.ckpt")
    torch.testing.assert_close(net(images), task.predictor.net(images))
    assert "this is f alone" in net.notes[1]
    inner = {"class_path": "diffstab.nets.CNN", "init_args": SMALL}
    centred = {"net": inner, "alpha": 2.0, "xi": 1.0}
    model = load_model("diffstab.nets:CentredOutput", init_args=centred, weights=tmp_path / "final.ckpt")
    torch.testing.assert_close(model(images), task(images))


def test_a_model_that_is_made_already(images):
    model = load_model(f"{HERE}:READY")
    torch.testing.assert_close(model(images), READY(images))
    for option, argument in (({"untrained": True}, "untrained"), ({"init_args": {"a": 1}}, "init_args")):
        with pytest.raises(ArgumentError, match=f"{argument} must be left out: .* is a model already"):
            load_model(f"{HERE}:READY", **option)


def test_functions_are_models_without_layers(images):
    model = load_model(f"{HERE}:function_of_means")
    assert not model.has_layers
    torch.testing.assert_close(model(images), images.mean((2, 3)))


def test_a_module_of_the_working_directory(tmp_path, monkeypatch, images):
    (tmp_path / "my_own_net.py").write_text("from diffstab.nets import CNN\nnet = lambda: CNN(3, (2,))\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
    assert load_model("my_own_net:net")(images).shape == (3, 10)
    assert str(tmp_path) not in __import__("sys").path


def test_torchvision_without_weights_is_untrained(generator):
    model = load_model("torchvision:squeezenet1_1", init_args={"num_classes": 4})
    assert (model.weights, model.input_size, model.preprocessing.is_identity) == ("", None, True)
    assert model(torch.rand(2, 3, 64, 64, generator=generator)).shape == (2, 4)


def test_torchvision_before_training_has_the_preprocessing_of_the_weights():
    model = load_model("torchvision:resnet18", weights="DEFAULT", untrained=True)
    assert (model.preprocessing.resize, model.input_size) == (256, (224, 224))
    assert model.preprocessing.mean == (0.485, 0.456, 0.406)
    assert not model.is_trained
    own = load_model(
        "torchvision:resnet18", weights="DEFAULT", untrained=True, preprocessing={"crop": 64, "resize": 64}
    )
    assert (own.preprocessing.mean, own.input_size) == ((0.485, 0.456, 0.406), (64, 64))


def test_nets_for_segmentation_download_no_weights_unasked(monkeypatch):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *args, **options: pytest.fail("asked"))
    model = load_model("torchvision:lraspp_mobilenet_v3_large")
    assert model.weights == ""


def test_torchvision_with_a_file_of_weights(tmp_path):
    start = load_model("torchvision:squeezenet1_1", init_args={"num_classes": 3}, seed=5)
    torch.save(start.module.state_dict(), tmp_path / "mine.pth")
    model = load_model(
        "torchvision:squeezenet1_1", init_args={"num_classes": 3}, weights=tmp_path / "mine.pth"
    )
    assert model.weights_hash == start.weights_hash


def test_weights_that_cannot_be_downloaded_are_told(monkeypatch):
    def fail(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(DataError, match=r"torchvision:resnet18 cannot be had here \(OSError: no network\)"):
        load_model("torchvision:resnet18", weights="DEFAULT")


def test_timm_models_have_the_data_configuration_of_their_weights(generator):
    timm = pytest.importorskip("timm")
    model = load_model("timm:resnet18", weights="DEFAULT", untrained=True)
    config = timm.data.resolve_model_data_config(model.module)
    found = timm.data.create_transform(**config, is_training=False)
    image = torch.rand(1, 3, 300, 400, generator=generator)
    from torchvision.transforms import Normalize, Resize

    resize = next(part for part in found.transforms if isinstance(part, Resize))
    normal = next(part for part in found.transforms if isinstance(part, Normalize))
    assert model.preprocessing.resize == resize.size
    assert model.preprocessing.interpolation == resize.interpolation.value
    assert model.preprocessing.mean == pytest.approx(normal.mean.tolist())
    assert model(image).shape == (1, 1000)
    with pytest.raises(ArgumentError, match="one of timm's, got 'resnet1'"):
        load_model("timm:resnet1")
    with pytest.raises(ArgumentError, match="be a file or DEFAULT for timm"):
        load_model("timm:resnet18", weights="a1_in1k")


def test_a_file_of_safetensors(net, images, tmp_path):
    torch_files = pytest.importorskip("safetensors.torch")
    torch_files.save_file(net.state_dict(), tmp_path / "w.safetensors")
    model = load_model("diffstab.nets:CNN", init_args=SMALL, weights=tmp_path / "w.safetensors")
    torch.testing.assert_close(model(images), net(images))
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no safetensors"):
        load_model("diffstab.nets:CNN", init_args=SMALL, weights=tmp_path / "w.safetensors")


def test_loading_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    load_model("diffstab.nets:CNN", seed=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("model", "options", "match"),
    [
        ("resnet18", {}, "model must be package.module:name, torchvision:name"),
        ("no_such_module:f", {}, "importable.*No module named 'no_such_module'"),
        ("diffstab.nets:CNM", {}, "name something in diffstab.nets, got 'CNM'. Near it: .*CNN"),
        (f"{HERE}:NUMBER", {}, "name a class or a factory of a model, got .*int"),
        (f"{HERE}:needs_sizes", {}, "init_args must hold channels for .*needs_sizes, got none"),
        (
            f"{HERE}:needs_sizes",
            {"init_args": {"channel": 1}},
            "among those of .*: channels, outputs, got channel",
        ),
        (f"{HERE}:broken", {}, "be made with these arguments, got RuntimeError: no such luck"),
        ("builtins:dict", {}, "be made by what it names, got dict"),
        (
            f"{HERE}:function_of_means",
            {"weights": "FILE"},
            "weights must be left out: the model is a function",
        ),
        ("torchvision:resnet1", {}, "one of torchvision's, got 'resnet1'. Near it: resnet18"),
        ("torchvision:resnet18", {"weights": "V9"}, "one of DEFAULT, IMAGENET1K_V1, got 'V9'"),
        ("torchvision:resnet18", {"init_args": {"sizes": 3}}, "unexpected keyword argument 'sizes'"),
        ("diffstab.nets:CNN", {"preprocessing": {"std": 0}}, "std must be positive"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(model, options, match, file):
    options = {name: file if value == "FILE" else value for name, value in options.items()}
    with pytest.raises(ArgumentError, match=match) as told:
        load_model(model, **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "There is no such file"),
        (b"some text", "damaged, or none of torch"),
        (b"", "damaged, or none of torch"),
        ("module", "more than plain tensors"),
        ([1, 2], "holds list, no state dict"),
        ({"epoch": 3, "lr": 0.1}, "no state dict, but epoch, lr"),
        ("script", "TorchScript, no state dict"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")
def test_files_that_hold_something_else(content, match, net, tmp_path):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "module":
        torch.save(net, path)
    elif content == "script":
        torch.jit.script(net).save(path)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(DataError, match=match):
        load_model("diffstab.nets:CNN", init_args=SMALL, weights=path)


class Exploit:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a file was run')",)


def test_no_code_of_a_file_is_run(tmp_path):
    torch.save({"weight": Exploit()}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="more than plain tensors"):
        load_model("diffstab.nets:CNN", weights=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state.pop("head.bias"), "1 of 4 names missing, as 'head.bias'"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 that the model has not, as 'extra'"),
        (
            lambda state: state.update({"head.weight": torch.zeros(7, 4)}),
            r"'head.weight' has shape \(7, 4\), the model's has \(10, 4\)",
        ),
    ],
)
def test_weights_of_another_net(change, match, net, tmp_path):
    state = net.state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ArgumentError, match=match):
        load_model("diffstab.nets:CNN", init_args=SMALL, weights=tmp_path / "w.pth")


def test_choices_are_plain_values_and_load(file, net, images):
    choice = ModelChoice("diffstab.nets:CNN", SMALL, weights=str(file), mean=[0.5], std=[0.5], output="0")
    assert pickle.loads(pickle.dumps(choice)) == choice
    model = choice.load()
    torch.testing.assert_close(model(images), net((images - 0.5) / 0.5))
    assert choice.part((images,)) is images
    assert isinstance(model.module, nn.Module)
