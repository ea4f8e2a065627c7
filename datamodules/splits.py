"""What a reader of images returns, and class-balanced subsets of it."""

from typing import NamedTuple

import torch


class Split(NamedTuple):
    """Images as stored, with their classes."""

    images: torch.Tensor  # (n, C, H, W) uint8
    classes: torch.Tensor  # (n,) int64, indices into the class names


class Source(NamedTuple):
    """A data set as read from disk."""

    train: Split
    test: Split
    class_names: tuple[str, ...]
    white: int  # the stored value that stands for 1.0


def balanced_order(classes: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Order samples at random so that every prefix is as balanced over the classes as it can be.

    The samples are dealt in rounds of one per class; within a round even and odd classes alternate, so
    that the parity labels are balanced too. A class that runs out is passed over in later rounds.
    Prefixes of one order are nested: the first 100 samples contain the first 50.

    Args:
        classes: (n,) int64 class indices of at least 0.
        generator: Source of randomness, on the CPU.

    Returns:
        (n,) int64 permutation of the sample indices.
    """
    shuffled = torch.randperm(len(classes), generator=generator)
    by_class = shuffled[torch.argsort(classes[shuffled], stable=True)]
    sizes = torch.bincount(classes)
    first = torch.cumsum(sizes, 0) - sizes
    rounds = torch.arange(len(classes)) - first[classes[by_class]]
    turns = _alternating_turns(int(sizes.max()), len(sizes), generator=generator)
    return by_class[torch.argsort(rounds * 2 * len(sizes) + turns[rounds, classes[by_class]])]


def _alternating_turns(n_rounds: int, n_classes: int, *, generator: torch.Generator) -> torch.Tensor:
    """(n_rounds, n_classes) turn of each class: even turns for even classes, odd for odd, shuffled."""
    turns = torch.empty(n_rounds, n_classes, dtype=torch.int64)
    for parity in range(min(2, n_classes)):
        scores = torch.rand(n_rounds, len(range(parity, n_classes, 2)), generator=generator)
        turns[:, parity::2] = 2 * torch.argsort(scores, dim=1) + parity
    return turns
