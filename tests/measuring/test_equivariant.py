"""E of `measure`: 0 for maps that only move with their image, the formula for others, named where there is none."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from diffstab.diffeo import warp
from diffstab.errors import ArgumentError
from diffstab.measuring import DeviceSettings, PassSettings, measure
from diffstab.nets import LoadedModel, Preprocessing
from diffstab.stability import diffeomorphism
from diffstab.stability.draws import NumberedDraws

from .conftest import smooth_images

CPU = DeviceSettings(accelerator="cpu", batch_size=16)


@pytest.fixture(autouse=True)
def _quiet(capsys):
    yield
    capsys.readouterr()


class Net(nn.Module):
    """Maps of several kinds, and a vector."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.same, self.point = nn.Identity(), nn.Conv2d(1, 3, 1)
            self.last, self.wide = nn.Identity(), nn.Conv2d(3, 2, 3, padding=1)
            self.head = nn.Linear(2 * 64, 4)

    def forward(self, x):
        maps = self.point(self.same(x))
        self.last(maps.permute(0, 2, 3, 1))  # channels last
        return self.head(self.wide(maps).flatten(1))


def found(**options):
    settings = PassSettings(**{"deltas": ("0.5px",), "layers": ("*",), "equivariant": True, **options})
    return measure(Net(), smooth_images(40), settings=settings, devices=CPU)


@pytest.mark.parametrize(
    "options", [{}, {"deltas": (), "rotations": (8,)}, {"deltas": (), "translations": ("1px",)}]
)
def test_maps_that_only_move_have_none_of_it_whatever_their_layout(options):
    rows = found(**options).frame.set_index("layer")
    for name in ("same", "point", "last"):
        assert abs(rows.loc[name, "E"]) < 1e-10
        assert rows.loc[name, "D"] > 0.01
    assert rows.loc["wide", "E_low"] < rows.loc["wide", "E"] < rows.loc["wide", "E_high"]


@pytest.mark.parametrize("protocol", [None, "2021"])
def test_it_is_the_mean_or_median_of_the_formula(protocol):
    net, images = Net(), smooth_images(40)
    settings = PassSettings(layers=("wide",), equivariant=True, deltas=("1px",))
    row = measure(net, images, settings=settings, devices=CPU, protocol_name=protocol).frame.iloc[0]
    (versions,) = [NumberedDraws([diffeomorphism(1.0, 3)], seed=0).draw(images, torch.arange(40))]
    field = diffeomorphism(1.0, 3).field(versions.parameters[0][0], 8, 8).float()
    with torch.no_grad():
        clean, moved = (net.wide(net.point(part)) for part in versions.stack[:2])
    changes = (moved - warp(clean, field)).square().flatten(1).sum(dim=1).double()
    denominator = 2 * clean.flatten(1).double().var(dim=0).sum()
    expected = (changes.quantile(0.5) if protocol else changes.mean()) / denominator
    assert row["E"] == pytest.approx(float(expected), rel=1e-5)


def test_layers_that_are_no_maps_are_named_in_a_line():
    result = found()
    rows = result.frame.set_index("layer")
    assert np.isnan(rows.loc[["head", "output"], "E"]).all()
    assert "No maps of the image, so without E: head, output." in str(result).splitlines()
    assert "–" in str(result)


def test_without_it_there_is_no_such_column_and_it_changes_no_other():
    plain, both = found(equivariant=False), found()
    assert "E" not in plain.frame
    assert "E" not in str(plain).split()
    numbers = ["D", "G", "R", "D_low", "R_high", "floor"]
    np.testing.assert_allclose(both.frame[numbers], plain.frame[numbers], rtol=1e-6)


def test_a_model_that_sees_a_part_of_the_image_is_refused():
    def loaded(**options):
        return LoadedModel(Net(), "net", "here", preprocessing=Preprocessing(**options))

    settings = PassSettings(layers=("point",), deltas=("0.5px",), equivariant=True)
    with pytest.raises(
        ArgumentError, match="equivariant must go without a crop of the images, got resize 10"
    ):
        measure(loaded(resize=10, crop=8), smooth_images(20), settings=settings, devices=CPU)
    whole = measure(loaded(resize=8, crop=8), smooth_images(20), settings=settings, devices=CPU).frame
    assert abs(whole["E"].iloc[0]) < 1e-10
    assert math.isnan(whole["E"].iloc[1])
