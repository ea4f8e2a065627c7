"""Models in files: torch.export with layers, TorchScript and ONNX without."""

import pickle

import pytest
import torch

from diffstab.errors import ArgumentError, DataError
from diffstab.nets import CNN, default_layers, load_model
from diffstab.nets.exported import InParts
from diffstab.nets.initial import initial_weights

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")


@pytest.fixture
def net():
    with initial_weights(2):
        return CNN(3, (4, 8)).eval()


@pytest.fixture
def images(generator):
    return torch.rand(5, 3, 16, 16, generator=generator)


def exported(net, path, *, images=2, free=True):
    sides = ({0: torch.export.Dim("n", min=1)},) if free else None
    program = torch.export.export(
        net, (torch.rand(images, 3, 16, 16, generator=torch.Generator()),), dynamic_shapes=sides
    )
    torch.export.save(program, path)


def test_exported_programs_have_layers(net, images, tmp_path):
    exported(net, tmp_path / "net.pt2")
    model = load_model(str(tmp_path / "net.pt2"))
    torch.testing.assert_close(model(images), net(images))
    assert (model.name, model.has_layers, model.input_size, model.batch_size) == ("net", True, (16, 16), None)
    assert default_layers(model.module, images) == default_layers(net, images)
    assert (
        model.weights_hash
        == load_model(
            "diffstab.nets:CNN", init_args={"in_channels": 3, "channels": [4, 8]}, seed=2
        ).weights_hash
    )


def test_a_fixed_number_of_images_is_met_in_parts_and_told(net, images, tmp_path):
    exported(net, tmp_path / "net.pt2", free=False)
    model = load_model(str(tmp_path / "net.pt2"))
    torch.testing.assert_close(model(images), net(images))
    assert (model.batch_size, model.has_layers) == (2, False)
    assert "2 images at once" in model.notes[0]


def test_parts_take_tensors_only():
    with pytest.raises(ArgumentError, match="be one tensor, got tuple from a model of 2 images"):
        InParts(_Pair(), 2)(torch.zeros(3, 1))


class _Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize("name", ["net.pt", "net.torchscript"])
def test_torchscript_has_none(name, net, images, tmp_path):
    torch.jit.script(net).save(tmp_path / name)
    model = load_model(str(tmp_path / name))
    torch.testing.assert_close(model(images), net(images))
    assert not model.has_layers
    assert model.notes == ("TorchScript: only the output can be measured, no layers.",)


@pytest.mark.parametrize("batch", [None, 2])
def test_onnx(batch, images, tmp_path):
    """A net whose answer is known: the mean of each channel, less one."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Sub", ["flat", "one"], ["y"]),
    ]
    sides = [helper.make_tensor_value_info("x", kind, [batch or "n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("y", kind, [batch or "n", 3])]
    one = [helper.make_tensor("one", kind, [1], [1.0])]
    graph = helper.make_graph(nodes, "means", sides, outputs, one)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, str(tmp_path / "means.onnx"))

    model = load_model(str(tmp_path / "means.onnx"))
    torch.testing.assert_close(model(images), images.mean((2, 3)) - 1)
    assert (model.has_layers, model.batch_size, model.input_size) == (False, batch, (16, 16))
    assert not hasattr(model.module, "session") or pickle.loads(pickle.dumps(model.module))(images).shape == (
        5,
        3,
    )


def test_onnx_asks_for_its_package(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ArgumentError, match=r"onnxruntime must be installed to run ONNX.*diffstab\[models\]"):
        load_model(str(tmp_path / "a.onnx"))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a.pt2", "damaged, or none of torch.export"),
        ("a.onnx", "damaged, or no ONNX"),
        ("a.pth", "no model of torch.export.*Weights alone need their net"),
        ("missing.pt2", "There is no such model file"),
    ],
)
def test_files_of_something_else(name, match, tmp_path):
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
    if name.startswith("a"):
        torch.save({"weight": torch.zeros(2)}, tmp_path / name)
    with pytest.raises(DataError, match=match):
        load_model(str(tmp_path / name))


@pytest.mark.parametrize("option", [{"weights": "w.pth"}, {"init_args": {"a": 1}}, {"untrained": True}])
def test_whole_models_take_neither_weights_nor_arguments(option, net, tmp_path):
    torch.jit.script(net).save(tmp_path / "net.pt")
    with pytest.raises(ArgumentError, match=r"must be left out: the file .* is a whole model"):
        load_model(str(tmp_path / "net.pt"), **option)
