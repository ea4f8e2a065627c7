"""Nets of constant filters with ReLU on images of one bright pixel: scalings with depth that theory gives.

The images are one-dimensional and circular, a bright pixel at each of their places; the deformation is a shift by one.
At stride 1, k layers of filter 3 have the kernel g_k of a random walk of k steps, of width A ~ k^(1/2):

    D_k ~ A^-2 = k^-1,   G_k ~ A = k^(1/2),   R_k ~ k^(-3/2).

Noise piles up because ReLU makes its mean positive. At stride 2 and filter 2 nothing overlaps: D halves from layer to
layer, and G doubles in the end. Source: Tomasini, Petrini, Cagnetta, Wyart, arXiv 2210.01506, section 4.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from diffstab.stability import LayerPass


def shifted(x):
    return torch.roll(x, 1, dims=-1)


def constant_net(depth, filter_px, stride):
    padding = {"padding": (0, 1), "padding_mode": "circular"} if stride == 1 else {}
    with torch.random.fork_rng():
        layers = [
            nn.Conv2d(1, 1, (1, filter_px), (1, stride), bias=False, **padding).double() for _ in range(depth)
        ]
    for layer in layers:
        nn.init.constant_(layer.weight, 1.0)
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])


def measured(width, depth, *, filter_px, stride):
    """D, G and R after 0, 1, ..., depth layers, (depth + 1,) each."""
    images = torch.eye(width, dtype=torch.float64)[:, None, None]
    net = nn.Sequential(nn.Identity(), constant_net(depth, filter_px, stride))
    layers = ["0", *[f"1.{2 * layer + 1}" for layer in range(depth)]]
    with LayerPass(net, layers=layers, deformations=[shifted]) as measuring:
        for numbers in torch.arange(width).split(64):
            measuring.update(images[numbers], numbers)
    found = [measuring.sums()[0, layer].stability() for layer in layers]
    return (
        np.array([float(getattr(one, name)) for one in found])
        for name in ("deformation", "noise", "relative")
    )


def random_walk(steps, width):
    """Number of ways to each place of a circle in steps of -1, 0 and 1."""
    ways = np.zeros(width)
    ways[0] = 1
    for _ in range(steps):
        ways = ways + np.roll(ways, 1) + np.roll(ways, -1)
    return ways


def test_stride_1_has_the_deformation_stability_of_a_random_walk():
    width, depth = 64, 10
    found, *_ = measured(width, depth, filter_px=3, stride=1)
    for layers in range(depth + 1):
        kernel = random_walk(layers, width)
        change = np.sum((kernel - np.roll(kernel, 1)) ** 2)
        pairs = [np.sum((kernel - np.roll(kernel, step)) ** 2) for step in range(1, width)]
        assert found[layers] == pytest.approx(change / np.mean(pairs), rel=1e-9)


def test_stride_2_halves_the_deformation_stability_from_layer_to_layer():
    width = 512
    found, noise, relative = measured(width, 6, filter_px=2, stride=2)
    for layer, value in enumerate(found):
        block = 2**layer
        # a shifted pixel changes its block with probability 1 / block; pairs in one block do not differ
        assert value == pytest.approx(1 / block / (1 - (block - 1) / (width - 1)), rel=1e-9)
    # rectified noise piles up: G comes near to doubling, R to a quarter
    growth, fall = noise[2:] / noise[1:-1], relative[2:] / relative[1:-1]
    assert np.all(np.diff(growth) > 0)
    assert growth[-1] == pytest.approx(2, rel=0.1)
    assert fall[-1] == pytest.approx(0.25, rel=0.1)


@pytest.mark.slow
def test_stride_1_has_the_exponents_of_theory_after_extrapolation():
    depth = 96
    curves = measured(384, depth, filter_px=3, stride=1)
    for curve, exponent, order in zip(curves, (-1, 0.5, -1.5), (1, 0.5, 0.5), strict=True):
        # Exponents between k and 2k, whose error falls as k^-order, at two depths.
        near, far = (math.log2(curve[2 * k] / curve[k]) for k in (24, 48))
        extrapolated = (2**order * far - near) / (2**order - 1)
        assert extrapolated == pytest.approx(exponent, abs=0.05)
