"""How often a pass waits for a device: a fixed number of times for a batch, however many layers are measured."""

import pytest
import torch
from torch import nn

from diffstab.stability import LayerPass, diffeomorphism, random_rotation
from tests.references.elsewhere import Elsewhere, Far, moved

WAITS = {
    torch.Tensor.cpu,
    torch.Tensor.item,
    torch.Tensor.tolist,
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.equal,
    torch.allclose,
}


class Counting(Elsewhere):
    """Counts what makes the host wait for the other device."""

    waits = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in WAITS and any(isinstance(value, Far) for value in args):
            self.waits += 1
        return super().__torch_function__(func, types, args, kwargs)


def net(depth):
    with torch.random.fork_rng():
        layers = [part for _ in range(depth) for part in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *layers).eval()


def waits(depth, deformations, **options):
    """Of one batch, after the first images have been looked at."""
    images = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with Counting() as counting:
        model = moved(net(depth))
        layers = [name for name, _ in model.named_modules()]
        with LayerPass(model, layers=layers, deformations=deformations, **options) as measuring:
            measuring.update(images[:80], torch.arange(80))
            before = counting.waits
            measuring.update(images[80:], torch.arange(80, 100))
            return counting.waits - before


@pytest.mark.parametrize(
    ("deformations", "options"),
    [
        ([diffeomorphism(0.3)], {}),
        ([diffeomorphism(0.3)], {"floor": True}),
        ([random_rotation(3.0)], {"equivariant": True, "fields_per_image": 2}),
    ],
)
def test_a_batch_waits_for_the_device_a_few_times_whatever_the_layers(deformations, options):
    few, many = (waits(depth, deformations, **options) for depth in (1, 12))
    # What was reduced and the norms, for each of two parts of the batch where there are more than three versions of
    # an image, and whether any buffer has changed.
    assert few == many == (3 if not options else 5)
