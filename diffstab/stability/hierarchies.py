"""Changes of strings of a random hierarchy that keep their class: synonyms, and moves of features among empty places.

They are deformations, so that D is the sensitivity S of the sources to synonyms, or D to moves, and G that to noise of
the same norm. (The sources' ratios are of norms or of squares; D is of squares, as everywhere here.)
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.deformation import Deformation, Source
from diffstab.tasks import Hierarchy
from diffstab.tasks.images import read_images, string_images


@dataclass(frozen=True, kw_only=True)
class StringChange(Deformation):
    """A change of one-hot images of strings, as `datamodules.RandomHierarchy` serves them.

    Attributes:
        hierarchy: Rules of the strings.
    """

    hierarchy: Hierarchy

    def check(self, images: Tensor) -> None:
        """Raise ArgumentError unless they are strings of such a hierarchy."""
        read_images(images, self.hierarchy)

    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """Refuse: features jump."""
        raise ArgumentError("deformation", "move pixels of images", "a change of strings")

    def interpolation_alone(self, images: Tensor, parameters: Tensor) -> Tensor | None:
        """Return the images: nothing is interpolated."""
        return images

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Change images (n, v, 1, places) by parameters of `draw`."""
        features, places = (part.cpu() for part in read_images(images, self.hierarchy))
        changed = self.changed(features, places, parameters.cpu())
        return string_images(*changed, self.hierarchy).to(images)

    @abstractmethod
    def changed(self, features: Tensor, places: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changed features and places, each (n, s^L)."""


@dataclass(frozen=True, kw_only=True)
class SynonymExchange(StringChange):
    """Exchange each tuple of the lowest level by one of its m - 1 synonyms, drawn uniformly.

    Parameters are steps (n, s^(L-1)) round the list of the synonyms.

    Raises:
        ArgumentError: If there are no synonyms.
    """

    def __post_init__(self) -> None:
        """Refuse rules without synonyms."""
        super().__post_init__()
        if self.hierarchy.synonyms < 2:
            raise ArgumentError("synonyms", "be at least 2 to be exchanged", self.hierarchy.synonyms)

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw a step for each tuple."""
        tuples = self.hierarchy.n_features // self.hierarchy.tuple_size
        return 1 + (source.uniform((tuples,)) * (self.hierarchy.synonyms - 1)).floor()

    def changed(self, features: Tensor, places: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the synonyms, at the same places."""
        return self.hierarchy.exchanged(features, parameters.long()), places


@dataclass(frozen=True, kw_only=True)
class FeatureMoves(StringChange):
    """Move each feature to another of the s_0 + 1 places of its slot at the lowest level, drawn uniformly.

    Parameters are steps (n, s^L) round the slot.

    Raises:
        ArgumentError: If no place is empty.
    """

    def __post_init__(self) -> None:
        """Refuse dense strings."""
        super().__post_init__()
        if self.hierarchy.empty < 1:
            raise ArgumentError("empty", "be at least 1 for features to move", self.hierarchy.empty)

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw a step for each feature."""
        return 1 + (source.uniform((self.hierarchy.n_features,)) * self.hierarchy.empty).floor()

    def changed(self, features: Tensor, places: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, at other places of their slots."""
        room = self.hierarchy.empty + 1
        start = torch.div(places, room, rounding_mode="floor") * room
        return features, start + (places - start + parameters.long()) % room
