"""The random hierarchy model: rules drawn at random, the strings that they generate, their classes and synonyms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.streams import stream

ENUMERABLE = 2**20
"""Numbers of different strings up to which draws are made from the list of all."""


class Strings(NamedTuple):
    """Strings of a hierarchy.

    Attributes:
        features: (n, s^L) int64, the features in their order.
        places: (n, s^L) int64, the place of each; rising.
        classes: (n,) int64.
    """

    features: Tensor
    places: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Hierarchy:
    r"""Rules of a random hierarchy model.

    Each class stands for m tuples of s features, its synonyms, each feature for m tuples of s features one level below,
    and so on over L levels. Tuples are drawn uniformly among all v^s, and no two parents of a level share one, so that
    a string of s^L features has one class at most. There are n_c m^((s^L - 1) / (s - 1)) strings.

    In the sparse variant every child has a slot of s_0 + 1 places: it lies at one of them, the others are empty, and
    below an empty place all places are empty. A string then has (s (s_0 + 1))^L places, of which s^L hold a feature.

    Args:
        levels: L, the number of levels.
        synonyms: m, the number of tuples for each class and feature.
        features: v, the number of features of a level.
        classes: n_c.
        tuple_size: s, at least 2.
        empty: s_0, the number of empty places for each feature; 0 is the dense model.
        seed: Seed of the rules.

    Raises:
        ArgumentError: If a number is too small, or there are fewer tuples than the rules need.

    Source: Cagnetta, Petrini, Tomasini, Favero, Wyart 2023 (arXiv 2307.02129); sparse, kind A: Tomasini, Wyart 2024
        (arXiv 2404.10727).
    """

    levels: int = 2
    synonyms: int = 4
    features: int = 8
    classes: int = 8
    tuple_size: int = 2
    empty: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "levels": 1,
            "synonyms": 1,
            "features": 2,
            "classes": 2,
            "tuple_size": 2,
            "empty": 0,
            "seed": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < bound:
                raise ArgumentError(name, f"be an integer of at least {bound}", repr(value))
        tuples, parents = self.features**self.tuple_size, max(self._parents)
        if self.synonyms * parents > tuples:
            condition = f"be at most {tuples} tuples / {parents} parents"
            raise ArgumentError("synonyms", condition, self.synonyms, "No two parents may share a tuple.")

    @property
    def n_features(self) -> int:
        """Number of features of a string, s^L."""
        return int(self.tuple_size**self.levels)

    @property
    def n_places(self) -> int:
        """Number of places of a string, (s (s_0 + 1))^L."""
        return int((self.tuple_size * (self.empty + 1)) ** self.levels)

    @property
    def n_strings(self) -> int:
        """Number of different strings: n_c m^((s^L - 1) / (s - 1)), for each of which features can lie elsewhere."""
        total = 1
        for base in self._bases:
            total *= base
        return total

    @property
    def known_size(self) -> int:
        r"""Number of training strings P* that a deep convolutional net needs, up to a factor: n_c m^L (s_0 + 1)^2.

        Measured in both sources; n_c m^L also follows from when synonyms can be told by their correlation with the
        class, and the factor (s_0 + 1)^2 is not derived. (Without shared weights it is s^(L/2) (s_0 + 1)^L.)
        """
        return int(self.classes * self.synonyms**self.levels * (self.empty + 1) ** 2)

    @cached_property
    def rules(self) -> list[Tensor]:
        """Tuples (parents, m, s) of each level, the highest first."""
        tuples = self.features**self.tuple_size
        found = []
        for level, parents in enumerate(self._parents):
            generator = stream(self.seed, "rules of a hierarchy", level)
            codes = torch.randperm(tuples, generator=generator)[: parents * self.synonyms]
            found.append(_digits(codes, [self.features] * self.tuple_size).view(parents, self.synonyms, -1))
        return found

    def all_strings(self) -> Strings:
        """Return every string once.

        Raises:
            ArgumentError: If there are more than 2^20.
        """
        if self.n_strings > ENUMERABLE:
            raise ArgumentError(
                "hierarchy", f"have at most {ENUMERABLE} strings to list them", self.n_strings
            )
        return self._strings(_digits(torch.arange(self.n_strings), self._bases))

    def draw(self, count: int, *, generator: torch.Generator) -> Strings:
        """Draw different strings, uniformly among all.

        Args:
            count: Number of strings.
            generator: Source of randomness, on the CPU.

        Raises:
            ArgumentError: If there are not as many strings.
        """
        if not 1 <= count <= self.n_strings:
            raise ArgumentError("count", f"lie in 1 to {self.n_strings}, the number of strings", count)
        if self.n_strings <= ENUMERABLE:
            numbers = torch.randperm(self.n_strings, generator=generator)[:count]
            return self._strings(_digits(numbers, self._bases))
        bases, found = torch.tensor(self._bases), torch.empty(0, len(self._bases), dtype=torch.int64)
        while len(found) < count:
            uniform = torch.rand(count, len(bases), generator=generator, dtype=torch.float64)
            found = torch.unique(torch.cat([found, (uniform * bases).long()]), dim=0)
        return self._strings(found[torch.randperm(len(found), generator=generator)[:count]])

    def classes_of(self, features: Tensor) -> Tensor:
        """Return the class of each row of features (n, s^L), -1 where no rule gives it."""
        for rule in reversed(self.rules):
            children = features.reshape(len(features), -1, self.tuple_size)
            parents, _ = self._origin(rule, children.clamp(min=0))
            features = torch.where((children < 0).any(-1), -1, parents)
        return features[:, 0]

    def exchanged(self, features: Tensor, steps: Tensor) -> Tensor:
        """Exchange the tuples of the lowest level by synonyms.

        Args:
            features: (n, s^L), of this hierarchy.
            steps: (n, s^(L-1)) int64 in 0 to m - 1: how far each tuple goes round the list of its synonyms.

        Returns:
            (n, s^L), of the same classes.

        Raises:
            ArgumentError: If a tuple is in no rule.
        """
        rule = self.rules[-1]
        parents, which = self._origin(rule, features.reshape(len(features), -1, self.tuple_size))
        if (parents < 0).any():
            way_out = "Strings and rules belong to two hierarchies."
            raise ArgumentError("features", "be tuples of the rules", "others", way_out)
        return rule[parents, (which + steps) % self.synonyms].flatten(1)

    @property
    def _parents(self) -> list[int]:
        """Number of parents of each level, the highest first."""
        return [self.classes] + [self.features] * (self.levels - 1)

    @property
    def _bases(self) -> list[int]:
        """How many values each choice has that makes a string: its class, the tuples, the places, from the top down."""
        nodes = [self.tuple_size**level for level in range(self.levels + 1)]
        return [self.classes] + [self.synonyms] * sum(nodes[:-1]) + [self.empty + 1] * sum(nodes[1:])

    def _strings(self, choices: Tensor) -> Strings:
        """Follow the choices (n, len(bases)) down the tree."""
        size, room = self.tuple_size, self.empty + 1
        classes, choices = choices[:, 0], choices[:, 1:]
        offsets = choices[:, (self.n_features - 1) // (size - 1) :]
        features, places = classes[:, None], torch.zeros_like(classes)[:, None]
        for level, rule in zip(range(self.levels - 1, -1, -1), self.rules, strict=True):
            nodes = features.shape[1]
            features = rule[features, choices[:, :nodes]].flatten(1)
            inside = torch.arange(size) * room + offsets[:, : nodes * size].reshape(-1, nodes, size)
            places = (places[..., None] + inside * (size * room) ** level).flatten(1)
            choices, offsets = choices[:, nodes:], offsets[:, nodes * size :]
        return Strings(features, places, classes)

    def _origin(self, rule: Tensor, tuples: Tensor) -> tuple[Tensor, Tensor]:
        """The parent of each tuple (..., s), -1 for none, and its number among the parent's."""
        weights = self.features ** torch.arange(self.tuple_size)
        table = torch.full((self.features**self.tuple_size,), -1)
        table[(rule * weights).sum(-1).flatten()] = torch.arange(rule.shape[0] * self.synonyms)
        found = table[(tuples * weights).sum(-1)]
        return torch.div(found, self.synonyms, rounding_mode="floor"), found % self.synonyms


def _digits(numbers: Tensor, bases: Sequence[int]) -> Tensor:
    """Write numbers (n,) in mixed bases, (n, len(bases)); the first digit is that of least weight."""
    digits = []
    for base in bases:
        digits.append(numbers % base)
        numbers = numbers // base
    return torch.stack(digits, dim=1)
