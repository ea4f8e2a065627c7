"""The random hierarchy model, dense and sparse, as a data set of one-hot images."""

from typing import Any

from datamodules.base import ImageDataModule, Labels
from datamodules.normalisation import Normalisation
from datamodules.splits import Source, Split
from diffstab.errors import ArgumentError
from diffstab.streams import stream
from diffstab.tasks import Hierarchy
from diffstab.tasks.images import string_images

N_TEST = 2000  # at most a quarter of all strings


class RandomHierarchy(ImageDataModule):
    """Strings of a random hierarchy model, as images (v, 1, places) with a channel for each feature; no files.

    Test and training split share no string. Rules and test split hang on `rules_seed` alone, `seed` draws the training
    strings out of a pool, balanced over the classes as of all data sets.

    Args:
        levels: L, the number of levels.
        synonyms: m, the number of tuples for each class and feature.
        features: v, the number of features of a level.
        classes: n_c, the number of classes.
        tuple_size: s, the number of children of a class or feature.
        empty: s_0, the number of empty places for each feature; 0 is the dense model.
        rules_seed: Seed of the rules.
        pool: Number of strings that training sets are drawn from, if there are as many.
        labels: As of `ImageDataModule`.
        normalisation: As of `ImageDataModule`; the exchange of synonyms needs "none".
        kwargs: Further arguments of `ImageDataModule`; `root` is not used, and `size` stays None.

    Attributes:
        hierarchy: Its rules.
        known_size: Training strings that a deep convolutional net needs, by the source.

    Raises:
        ArgumentError: If a number is out of range.

    Source: see `diffstab.tasks.Hierarchy`.
    """

    name = "random_hierarchy"

    def __init__(
        self,
        *,
        levels: int = 2,
        synonyms: int = 4,
        features: int = 8,
        classes: int = 8,
        tuple_size: int = 2,
        empty: int = 0,
        rules_seed: int = 0,
        pool: int = 20_000,
        labels: Labels = "classes",
        normalisation: Normalisation = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(labels=labels, normalisation=normalisation, **kwargs)
        if self.size is not None:
            raise ArgumentError("size", "be None", self.size, "Strings cannot be resized.")
        if pool < (self.n_train or 1):
            raise ArgumentError("pool", f"be at least n_train = {self.n_train or 1}", pool)
        self.hierarchy = Hierarchy(levels, synonyms, features, classes, tuple_size, empty, rules_seed)
        self.known_size, self.pool = self.hierarchy.known_size, pool

    def read(self) -> Source:
        """Draw test and training split."""
        total = self.hierarchy.n_strings
        tests = min(N_TEST, total // 4)
        generator = stream(self.hierarchy.seed, "strings of a hierarchy")
        strings = self.hierarchy.draw(min(tests + self.pool, total), generator=generator)
        images = string_images(strings.features, strings.places, self.hierarchy)
        test, train = (
            Split(images[part], strings.classes[part]) for part in (slice(tests), slice(tests, None))
        )
        names = tuple(str(number) for number in range(self.hierarchy.classes))
        return Source(train, test, names, white=1)
