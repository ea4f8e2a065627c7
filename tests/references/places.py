"""Inputs of public functions on a device, and the check that one gives there what it gives here."""

import torch

from diffstab.l2 import L2Problem, draw_weights
from diffstab.nets import FCN
from tests.references.elsewhere import DEVICE, Elsewhere, FarGenerator, moved

CPU = torch.device("cpu")


class Place:
    """Inputs of one size and seed, on a device, and a generator of its own device."""

    def __init__(self, device, generator_device):
        self.device, self.generator_device = device, generator_device
        self._source = torch.Generator().manual_seed(1)

    def normal(self, *shape, dtype=torch.float64):
        return torch.randn(*shape, generator=self._source, dtype=dtype).to(self.device)

    def images(self):
        return self.normal(6, 1, 8, 8, dtype=torch.float32)

    def points(self, count=12, dimension=3):
        points = torch.randn(count, dimension, generator=self._source, dtype=torch.float64)
        return (points / points.norm(dim=1, keepdim=True)).to(self.device)

    def generator(self):
        return (FarGenerator if self.generator_device == DEVICE else torch.Generator)().manual_seed(2)

    def net(self, inputs=64, dtype=torch.float32):
        net = FCN(inputs, (5,), activation="relu", generator=torch.Generator().manual_seed(3), dtype=dtype)
        return moved(net) if self.device == DEVICE else net

    def problem(self, **options):
        inputs, targets = self.normal(3, 6), self.normal(2, 6)
        return L2Problem(inputs, targets, **({"penalty": 1e-2, "depth": 2, "bias": 0.0} | options))

    def weights(self, problem):
        return draw_weights(problem, 5, generator=torch.Generator().manual_seed(4))


def plain(value):
    """A tensor of either device on the CPU."""
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def check_same(case, generator_device):
    """Whether a case, called with a `Place`, gives on the other device what it gives on the CPU."""
    expected = case(Place(CPU, CPU))
    with Elsewhere():
        found = plain(case(Place(DEVICE, generator_device)))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
