"""Which layers a model has, and which of them are measured by default."""

import json
import warnings

import pytest
import torch
from torch import nn
from torchvision import models

from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.nets import FCN, VGG, LeNet, ResNet, default_layers, layer_table, matching_layers, output_part
from diffstab.nets.initial import initial_weights
from diffstab.nets.layers import MOST_DEFAULTS, CannotRunError
from tests.references.models import DictOutput, Shared, Tokens


def built(make, *args, **options):
    with initial_weights(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision's own initial weights
        return make(*args, **options)


@pytest.fixture
def images(generator):
    return torch.rand(3, 3, 64, 64, generator=generator)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["relu", "layer1", "layer2", "layer3", "layer4", "avgpool", ""]),
        ("resnet50", ["relu", "layer1", "layer2", "layer3", "layer4", "avgpool", ""]),
        (
            "densenet121",
            [
                "features.relu0",
                *(f"features.denseblock{i}" for i in (1, 2, 3)),
                "features",
                "classifier:input",
                "",
            ],
        ),
        ("convnext_tiny", ["features.1", "features.3", "features.5", "features", "classifier.1", ""]),
        ("swin_t", ["features.1", "features.3", "features.5", "permute", "flatten", ""]),
        (
            "vgg11",
            [
                "features.1",
                "features.4",
                "features.9",
                "features.14",
                "features.19",
                "avgpool",
                "classifier.5",
                "",
            ],
        ),
    ],
)
def test_the_ends_of_the_stages_of_torchvision_nets(name, expected, images):
    size = 224 if name in ("swin_t", "vgg11") else 64
    example = images.new_zeros(2, 3, size, size) if size != 64 else images
    assert default_layers(built(models.get_model, name), example) == expected


def test_the_blocks_of_a_transformer(generator):
    example = torch.rand(2, 3, 16, 16, generator=generator)
    blocks = [f"encoder.layers.{i}" for i in range(3)]
    assert default_layers(built(Tokens), example) == [*blocks, "head:input", ""]
    many = default_layers(built(Tokens, blocks=30), example)
    assert len(many) == MOST_DEFAULTS
    assert many[-3:] == ["encoder.layers.29", "head:input", ""]


def test_nets_of_this_project(images):
    small = images[..., :32, :32]
    assert default_layers(built(ResNet), small) == ["layer1", "layer2", "layer3", "pool", ""]
    assert default_layers(built(VGG), small) == ["features.0", "features.1", "features", "pool", ""]
    lenet = default_layers(built(LeNet, 3, 32), small)
    assert lenet == ["features.1", "features.2", "features.4", "features", "classifier.4", ""]
    assert default_layers(built(FCN, 64, (5,)), images[:, 0, :8, :8]) == [""]


def test_nets_without_pixels_are_measured_before_each_linear_layer(images):
    def make():
        hidden = nn.Linear(192, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh()
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(5, 2))

    assert default_layers(built(make), images[..., :8, :8]) == ["2", "4", ""]


@pytest.mark.parametrize(
    ("name", "layer", "linear"),
    [("densenet121", "classifier:input", "classifier"), ("resnet18", "avgpool", "fc")],
)
def test_the_input_of_the_last_linear_layer_is_what_it_receives(name, layer, linear, images):
    """In a DenseNet no module puts it out; in a ResNet the pooling does."""
    net = built(models.get_model, name).eval()
    received, put_out = [], []
    table = {info.name: info for info in layer_table(net, images)}
    net.get_submodule(linear).register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    if not layer.endswith(":input"):
        net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: put_out.append(output))
    net(images)
    assert table[layer].is_default
    assert received[0].numel() == torch.tensor(table[layer].output_shape).prod()
    for output in put_out:
        assert torch.equal(output.flatten(1), received[0])


def test_the_table_tells_sharing_repetition_and_what_never_runs(images):
    table = {info.name: info for info in layer_table(built(Shared), images)}
    assert list(table)[-1] == ""
    assert table["first"].shares_with == ("alias",)
    assert "alias" not in table
    assert table["relu"].runs == 2
    assert table["unused"].why_not == "does not run as a module"
    assert table["first"].output_shape == (3, 3, 64, 64)
    assert (table["head"].type, table["head"].output_shape) == ("Linear", (3, 4))


def test_outputs_that_are_no_tensors(images):
    net = built(DictOutput)
    table = {info.name: info for info in layer_table(net, images)}
    assert table["features"].why_not == "puts out no tensor but tuple"
    assert table[""].why_not == "puts out no tensor but dict"
    table = {info.name: info for info in layer_table(net, images, output=output_part("more.features"))}
    assert (table[""].why_not, table[""].output_shape) == ("", (3, 3))
    with pytest.raises(ArgumentError, match="have the part 'logit', got dict with keys logits, more"):
        layer_table(net, images, output=output_part("logit"))


def test_a_layer_with_images_nowhere_is_told(images):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(0)[..., :1]

    table = {info.name: info for info in layer_table(nn.Sequential(Mean(), nn.Flatten(0)), images[:2])}
    assert table["0"].why_not == "puts out no axis of 2 images"


def test_patterns(images):
    net = built(ResNet, 3, 8)
    assert matching_layers(net, ["layer[12]"]) == ["layer1", "layer2"]
    assert matching_layers(net, ["layer3*conv?", "conv1"]) == ["conv1", "layer3.0.conv1", "layer3.0.conv2"]
    assert matching_layers(net, ["output", "linear:input"]) == ["linear:input", ""]
    assert matching_layers(net, ["*"])[-1] == ""
    with pytest.raises(ArgumentError, match=r"layers: 'layer9\*' must match .*, got no layer of that name"):
        matching_layers(net, ["layer1", "layer9*"])


def test_with_an_example_only_what_can_be_measured_matches(images):
    net = built(DictOutput)
    assert matching_layers(net, ["*"]) == ["features", "head", ""]
    assert matching_layers(net, ["*"], example=images) == ["head"]
    with pytest.raises(ArgumentError, match="got 'features' puts out no tensor but tuple"):
        matching_layers(net, ["feat*"], example=images)


def test_nothing_is_left_on_the_model(images):
    net = built(Tokens).train()
    net.add_module("normal", nn.BatchNorm2d(3))
    net.register_forward_pre_hook(lambda module, inputs: (module.normal(inputs[0]),))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small, state = images[..., :16, :16], torch.get_rng_state()
    copy = small.clone()
    layer_table(net, small)
    with pytest.raises(CannotRunError, match="model must run on images of 1 x 16 x 16, got RuntimeError"):
        layer_table(net, small[:, :1])
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(copy, small)


def test_one_image_is_too_few(images):
    with pytest.raises(ArgumentError, match="example must be at least 2 images"):
        layer_table(nn.Identity(), images[:1])


def test_the_command_prints_a_table(capsys):
    assert main(["layers", "diffstab.nets:ResNet", "--init_args", "{depth: 8}"]) == 0
    shown = capsys.readouterr().out
    assert "diffstab.nets:ResNet on images of 3 x 32 x 32" in shown
    assert [line.split()[:5] for line in shown.splitlines() if " layer2 " in line] == [
        ["*", "layer2", "Sequential", "32", "x"]
    ]
    assert "Measured by default (5): layer1, layer2, layer3, pool, output" in shown


def test_it_finds_a_size_that_the_model_takes(capsys):
    assert main(["layers", "diffstab.nets:LeNet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input_shape"] == [1, 28, 28]
    assert main(["layers", "diffstab.nets:LeNet", "--init-args", "{size: 40}", "--input-size", "40"]) == 0
    for size, shape in ((784, [1, 28, 28]), (3072, [3, 32, 32])):
        capsys.readouterr()
        assert main(["layers", "diffstab.nets:FCN", "--init_args", f"{{in_features: {size}}}", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["input_shape"] == shape


def test_json_holds_the_layers(capsys):
    command = ["layers", "tests.references.models:Shared", "--input_size", "20", "24", "--json"]
    assert main(command) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["input_shape"], content["images"]) == ([3, 20, 24], 3)
    layers = {layer["name"]: layer for layer in content["layers"]}
    assert layers["relu"]["runs"] == 2
    assert layers["first"]["shares_with"] == ["alias"]
    assert layers["first"]["output_shape"] == [3, 3, 20, 24]


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["tests.references.models:function_of_means"], "model must have layers, got .*a function"),
        (["diffstab.nets:CNN", "--init_args", "[1]"], "init_args must be a mapping"),
        (["diffstab.nets:CNN", "--init_args", "{a: "], "init_args must be YAML"),
        (
            ["diffstab.nets:CNN", "--input_size", "1", "2", "3", "4"],
            "input_size must be one to three numbers",
        ),
        (["diffstab.nets:CNN", "--input_size", "1"], "model must run on images of 1 x 1 x 1"),
    ],
)
def test_the_command_tells_what_is_wrong(args, match, capsys):
    assert main(["layers", *args]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    with pytest.raises(ArgumentError, match=match):
        raise ArgumentError(*_parts(told))


def _parts(told):
    argument, rest = told.removeprefix("diffstab: ").split(" must ", 1)
    condition, received = rest.strip().split(", got ", 1)
    return argument, condition, received
