"""Class-balanced, nested subsets."""

import pytest
import torch

from datamodules.splits import balanced_order
from diffstab.streams import stream


def _classes(sizes, generator):
    classes = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return classes[torch.randperm(len(classes), generator=generator)]


@pytest.mark.parametrize("sizes", [[7] * 10, [5, 9, 7], [3, 0, 8, 1], [6], [1, 40]], ids=str)
def test_every_prefix_is_as_balanced_as_the_classes_allow(sizes, generator):
    classes = _classes(sizes, generator)
    order = balanced_order(classes, generator=generator)
    assert torch.equal(order.sort().values, torch.arange(len(classes)))
    for count in range(len(classes) + 1):
        taken = torch.bincount(classes[order[:count]], minlength=len(sizes))
        unexhausted = [int(taken[k]) for k in range(len(sizes)) if taken[k] < sizes[k]]
        # A class may lag behind the fullest one by at most 1 unless it has run out.
        assert all(int(taken.max()) - share <= 1 for share in unexhausted)


def test_every_prefix_is_balanced_over_parity(generator):
    classes = _classes([20] * 10, generator)
    parity = 1 - 2 * (classes[balanced_order(classes, generator=generator)] % 2)
    assert parity.cumsum(0).abs().max() <= 1


def test_order_is_repeatable_and_depends_on_the_seed(generator):
    classes = _classes([20] * 10, generator)
    first, again, other = (
        balanced_order(classes, generator=stream(seed, "training images")) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_sample_of_a_class_is_equally_likely():
    """20 samples of each class, 5 taken: each is taken with probability 1/4."""
    classes, trials = torch.arange(40) % 2, 2000
    counts = torch.zeros(40)
    for seed in range(trials):
        counts[balanced_order(classes, generator=stream(seed, "training images"))[:10]] += 1
    deviation = (trials * 0.25 * 0.75) ** 0.5
    assert (counts - trials * 0.25).abs().max() < 5 * deviation
