"""Intervals for every layer of a pass: they cover the truth as often as they say, and layers share their resamples."""

import math

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability import (
    LayerPass,
    diffeomorphism,
    layer_intervals,
    paired_difference_of_sums,
    random_translation,
)

SHIFT = random_translation(1.0, circular=True, whole=True)


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 2)).double()


def normal_images(count, generator):
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)


def truth(part, count=100_000):
    """D, G and R of a layer over normal images, by means over very many of them."""
    generator = torch.Generator().manual_seed(1)
    x, z = normal_images(count, generator), normal_images(count, generator)
    moved = SHIFT(x, generator=generator).images
    noise = torch.nn.functional.normalize(torch.randn(count, 64, generator=generator, dtype=torch.float64))
    noise = noise * (moved - x).flatten(1).norm(dim=1, keepdim=True)

    def mean_square(a, b):
        with torch.no_grad():
            return float((part(a) - part(b)).flatten(1).square().sum(dim=1).mean())

    changes = mean_square(moved, x), mean_square(x + noise.view_as(x), x)
    denominator = mean_square(x, z)
    return changes[0] / denominator, changes[1] / denominator, changes[0] / changes[1]


def covered(count, repetitions):
    """How often the interval of each number of each layer holds the truth, (layers, 3)."""
    model = net()
    layers = {"1": model[:2], "3": model}
    truths = {name: truth(part) for name, part in layers.items()}
    hits = torch.zeros(len(layers), 3)
    for repetition in range(repetitions):
        generator = torch.Generator().manual_seed(100 + repetition)
        shares = []
        for process in range(2):  # each counts from the mean of its own first images
            images, numbers = normal_images(count // 2, generator), torch.arange(count // 2) * 2 + process
            with LayerPass(model, layers=list(layers), deformations=[SHIFT], seed=repetition) as measuring:
                for batch, places in zip(images.split(20), numbers.split(20)):
                    measuring.update(batch, places)
            shares.append(measuring.result())
        sums = shares[0].merged(shares[1]).sums
        intervals = layer_intervals(sums, bootstrap=300, generator=generator)
        for place, (name, values) in enumerate(truths.items()):
            low, high = intervals[0, name]
            hits[place] += torch.tensor([float(a) <= v <= float(b) for a, v, b in zip(low, values, high)])
    return hits / repetitions


def test_convention_intervals_of_layers_cover_the_truth():
    # 60 repetitions of 95 % have a standard deviation of 2.8 points
    assert covered(100, 60).min() > 0.84


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 200])
def test_intervals_of_layers_cover_the_truth_at_their_confidence(count):
    found = covered(count, 400)
    # 400 repetitions of 95 % have a standard deviation of 1.1 points
    assert found.min() > 0.91, found
    assert found.max() < 0.99, found


def sums_of(layers=("1", "3"), seed=0, model=None, count=40):
    images = normal_images(count, torch.Generator().manual_seed(5))
    with LayerPass(model or net(), layers=layers, deformations=[diffeomorphism(0.3)], seed=seed) as measuring:
        measuring.update(images, torch.arange(count))
    return measuring.sums()


def test_layers_share_their_resamples():
    sums = sums_of()
    generator = torch.Generator().manual_seed(3)
    both = layer_intervals(sums, bootstrap=100, generator=generator)
    alone = layer_intervals(
        {(0, "3"): sums[0, "3"]}, bootstrap=100, generator=torch.Generator().manual_seed(3)
    )
    assert list(both[0, "3"].low) == list(alone[0, "3"].low)
    again = layer_intervals(sums, bootstrap=100, generator=generator)
    assert list(again[0, "3"].low) != list(both[0, "3"].low)
    for key, (low, high) in both.items():
        found = sums[key].stability()
        assert low.deformation < found.deformation < high.deformation


def test_layers_without_spread_have_no_interval():
    model = net()
    nn.init.zeros_(model[3].weight)
    intervals = layer_intervals(
        sums_of(model=model), bootstrap=20, generator=torch.Generator().manual_seed(0)
    )
    assert all(math.isnan(float(value)) for value in intervals[0, "3"].low)
    assert math.isfinite(float(intervals[0, "1"].low.relative))


def test_models_are_compared_on_the_same_draws(generator):
    a, b = sums_of()[0, "1"], sums_of()[0, "3"]
    paired = paired_difference_of_sums(a, b, bootstrap=200, generator=generator)
    difference = a.stability().deformation - b.stability().deformation
    assert float(paired.difference.deformation) == pytest.approx(float(difference))
    assert paired.difference_low.deformation < difference < paired.difference_high.deformation
    same = paired_difference_of_sums(a, a, bootstrap=20, generator=generator)
    assert all(float(value) == 0 for part in same[:-1] for value in part)
    with pytest.raises(ArgumentError, match="sums_b must be of the 40 images of sums_a, got 30"):
        paired_difference_of_sums(a, sums_of(count=30)[0, "1"], generator=generator)
    model = net()
    nn.init.zeros_(model[3].weight)
    with pytest.raises(DegenerateError, match="constant"):
        paired_difference_of_sums(a, sums_of(model=model)[0, "3"], generator=generator)
