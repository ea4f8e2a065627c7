from typing import NamedTuple

import pytest
import torch
from torch import Tensor


class Layer(NamedTuple):
    theta: Tensor
    weights_out: Tensor
    x: Tensor


@pytest.fixture
def random_layer(generator):
    """A function from sizes to a Gaussian layer, as at initialisation."""

    def draw(neurons, dimension, points, outputs=1, dtype=torch.float64):
        shapes = ((neurons, dimension), (outputs, neurons), (points, dimension))
        return Layer(*(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes))

    return draw


@pytest.fixture
def seven_atoms(generator):
    """1000 neurons on seven rays, of any length and sign of w; atom k has mass k + 1 by construction."""
    directions = torch.nn.functional.normalize(torch.randn(7, 20, generator=generator, dtype=torch.float64))
    labels = torch.cat([torch.arange(7), torch.randint(7, (993,), generator=generator)])
    size = torch.bincount(labels)
    lengths = 0.1 + torch.rand(1000, generator=generator, dtype=torch.float64)
    signs = torch.randint(2, (1000,), generator=generator) * 2.0 - 1
    weights = signs * (labels + 1).double() / size[labels] / lengths
    x = torch.randn(200, 20, generator=generator, dtype=torch.float64)
    return Layer(directions[labels] * lengths[:, None], weights[None], x), labels
