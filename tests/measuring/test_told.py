"""What could go wrong without a word, and is told: by an error at once, or beside the numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diffstab.errors import ArgumentError, DataError, DiffstabError
from diffstab.measuring import DeviceSettings, PassSettings, measure, open_data
from diffstab.measuring.one_call import batch_size, prepare, state_path
from diffstab.measuring.running import trainer_of
from diffstab.nets.initial import initial_weights

from .conftest import small_net, smooth_images

CPU = DeviceSettings(accelerator="cpu", batch_size=16)
ONE = PassSettings(deltas=("0.4px",), layers=("output",))


@pytest.fixture(autouse=True)
def _quiet(capsys):
    yield
    capsys.readouterr()


class _Mixed(nn.Module):
    """Takes the mean of the batch off."""

    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, x):
        found = self.net(x)
        return found - found.mean(dim=0)


def test_outputs_that_change_with_the_batch_are_told_beside_the_numbers():
    found = measure(_Mixed(), smooth_images(40), settings=ONE, devices=CPU)
    assert any("changes with the other images of the batch" in note for note in found.remarks)
    assert not measure(small_net(), smooth_images(40), settings=ONE, devices=CPU).remarks


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_images_of_a_data_set_are_not_cut_to_white(mode):
    levels = np.linspace(0, 60_000, 64).reshape(8, 8)
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    image = Image.fromarray(levels.astype(kind))
    assert image.mode == mode
    with pytest.raises(ArgumentError, match=f"data must serve images of 8 bits.*Pillow's mode {mode}"):
        open_data([image] * 3).read(0)


def test_transparent_parts_are_white_as_in_a_folder(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:4, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = [open_data([Image.fromarray(pixels)] * 2).read(0).image, open_data(tmp_path).read(0).image]
    assert torch.equal(*images)
    assert images[0][:, :4].max() == 0
    assert images[0][:, 4:].min() == 1


def test_colours_become_grey_levels_as_pillow_makes_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("L")) / 255.0).float()
    found = open_data(tmp_path, grey=True).read(0).image
    assert found.shape == (1, 8, 8)
    torch.testing.assert_close(found[0], expected, atol=1.01 / 255, rtol=0)
    one = smooth_images(2)
    assert torch.equal(open_data(one, grey=True).read(0).image, one[0])
    with initial_weights(0):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    colour = smooth_images(20).expand(-1, 3, -1, -1) * torch.tensor([1.0, 0.5, 0.2]).view(3, 1, 1)
    with pytest.raises(ArgumentError):
        measure(net, colour, settings=PassSettings(deltas=("0.4px",)), devices=CPU)
    found = measure(net, open_data(colour, grey=True), settings=ONE, devices=CPU).frame
    assert float(found["R"].iloc[0]) > 0


def test_a_class_in_place_of_a_model_is_refused():
    with pytest.raises(ArgumentError, match="model must be a module, a function of images"):
        measure(nn.Linear, smooth_images(20), settings=ONE, devices=CPU)


def test_a_confidence_that_is_none_is_refused_before_anything_is_measured():
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(ArgumentError, match="confidence must lie strictly between 0 and 1"):
            PassSettings(confidence=confidence)


def test_a_measurement_does_not_go_on_with_other_files_under_the_same_numbers(tmp_path):
    for name in "abc":
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    with initial_weights(0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    first = state_path(tmp_path, prepare(net, open_data(tmp_path), settings=ONE))
    again = state_path(tmp_path, prepare(net, open_data(tmp_path), settings=replace(ONE, images=2)))
    (tmp_path / "a.png").rename(tmp_path / "d.png")
    other = state_path(tmp_path, prepare(net, open_data(tmp_path), settings=ONE))
    assert first == again  # more images of the same files
    assert other != first


def test_batches_on_the_cpu_do_not_grow_with_the_memory_of_the_machine(monkeypatch):
    ready = prepare(small_net(), open_data(smooth_images(300)), settings=ONE)
    devices = DeviceSettings(accelerator="cpu")
    trainer = trainer_of(devices, is_shown=False)
    sizes = []
    for free in (1e5, 4 * 2**30, 1e15):
        monkeypatch.setattr("diffstab.measuring.one_call.free_bytes", lambda _, free=free: free)
        monkeypatch.setattr("diffstab.measuring.one_call.image_bytes", lambda _: 2.0**25)
        sizes.append(batch_size(ready, devices, trainer))
    assert sizes == [1, 32, 32]


class _Twice(nn.Module):
    """One layer that runs twice."""

    def __init__(self):
        super().__init__()
        with initial_weights(0):
            self.net, self.same = small_net(), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.net(self.same(self.same(x).tanh()))


def test_runs_of_a_module_are_rows_of_their_own():
    net, images = _Twice(), smooth_images(40)
    settings = PassSettings(deltas=("0.4px",), layers=("same*",))
    rows = measure(net, images, settings=settings, devices=CPU).frame.set_index("layer")
    assert list(rows.index) == ["same#1", "same#2", "output"]
    first = measure(net.same, images, settings=ONE, devices=CPU).frame.iloc[0]
    second = nn.Sequential(net.same, nn.Tanh(), net.same)
    for name, expected in (
        ("same#1", first),
        ("same#2", measure(second, images, settings=ONE, devices=CPU).frame.iloc[0]),
    ):
        assert rows.loc[name, "D"] == pytest.approx(expected["D"], rel=1e-5)
        assert rows.loc[name, "G"] == pytest.approx(expected["G"], rel=1e-5)


def test_images_of_several_sizes_or_none_are_refused_at_once():
    several = [torch.rand(1, side, side, generator=torch.Generator().manual_seed(0)) for side in (8, 9)]
    with pytest.raises(DiffstabError, match="size must be given when images differ in size"):
        measure(small_net(), several, settings=ONE, devices=CPU)
    with pytest.raises(DataError, match="fewer than two images"):
        measure(small_net(), torch.zeros(0, 1, 8, 8), settings=ONE, devices=CPU)


@pytest.mark.parametrize("kind", ["lazy", "meta"])
def test_a_model_without_weights_is_refused(kind):
    with initial_weights(0):
        net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3)) if kind == "lazy" else small_net().to("meta")
    with pytest.raises(ArgumentError, match=r"model must have its weights, got '.*' without any"):
        measure(net, smooth_images(20), settings=ONE, devices=CPU)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_the_output_of_a_script_is_measured_and_layers_are_refused():
    with initial_weights(0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    script = torch.jit.script(net)
    settings = PassSettings(deltas=("0.4px",))
    found = measure(script, smooth_images(20), settings=settings, devices=CPU).frame
    plain = measure(net, smooth_images(20), settings=ONE, devices=CPU).frame
    assert found["R"].tolist() == pytest.approx(plain["R"].tolist(), rel=1e-6)
    with pytest.raises(ArgumentError, match="layers must be left out for an object"):
        measure(script, smooth_images(20), settings=replace(settings, layers=("1",)), devices=CPU)


def test_the_parts_of_an_output_are_named():
    def model(x):
        return x.flatten(1), {"logits": x.flatten(1)}

    match = r"output must be a tensor, got tuple of Tensor, dict\. Name one of them: 0, 1"
    with pytest.raises(ArgumentError, match=match):
        measure(model, smooth_images(20), settings=ONE, devices=CPU)
    assert len(measure(model, smooth_images(20), settings=ONE, devices=CPU, output="1.logits").frame) == 1
