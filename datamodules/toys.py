"""Small regression problems whose sparsest networks are known, wholly or by a bound. None has a test split."""

import math

import torch

from datamodules.regression import RegressionData, RegressionDataModule
from diffstab.errors import ArgumentError
from diffstab.l2.completely_positive import bipartite_gram
from diffstab.streams import stream


class CompleteBipartite(RegressionDataModule):
    r"""X = I_N and Y = B, the matrix of the complete bipartite graph on N vertices: B_ii = N/2, and 1 across.

    B = sum over edges of (e_i + e_j)(e_i + e_j)^T is completely positive of CP-rank N^2/4, its number of edges, and
    the minimal norm at depth 2 without bias is 2 Tr B = N^2.

    Source: Jacot et al. 2022 (arXiv 2205.15809), Proposition 14.

    Args:
        n_train: N, the number of vertices, even; the first half is one side.
        seed: Changes nothing: there is nothing to draw.

    Raises:
        ArgumentError: If the number of vertices is odd.
    """

    name = "complete_bipartite"

    def __init__(self, *, n_train: int = 4, seed: int = 0) -> None:
        super().__init__(n_train=n_train, seed=seed)
        if n_train % 2:
            raise ArgumentError("n_train", "be even: half of the vertices on each side", n_train)
        self.plateau_width, self.plateau_cost = n_train**2 // 4, float(n_train**2)

    def draw(self) -> RegressionData:
        """Return I_N and B."""
        return RegressionData(torch.eye(self.n_train, dtype=torch.float64), bipartite_gram(self.n_train))


class OneHotClasses(RegressionDataModule):
    r"""X = I_N and one-hot targets of classes in turn: sample i has class i mod classes.

    (Y^T Y)^(1/2) has a block of entries 1/sqrt(m) for each class of m samples: CP-rank = classes, and the minimal norm
    at depth 2 without bias is 2 sum sqrt(m). Source: Jacot et al. 2022 (arXiv 2205.15809), Proposition 14.

    Args:
        classes: Number of classes.
        n_train: N, the number of samples, at least the number of classes.
        seed: Changes nothing: there is nothing to draw.

    Raises:
        ArgumentError: If a class would have no sample.
    """

    name = "one_hot"

    def __init__(self, *, classes: int = 3, n_train: int = 9, seed: int = 0) -> None:
        super().__init__(n_train=n_train, seed=seed)
        if not 1 <= classes <= n_train:
            raise ArgumentError("classes", f"lie in 1 to n_train = {n_train}", classes)
        self.classes, self.plateau_width = classes, classes
        small, larger = divmod(n_train, classes)
        self.plateau_cost = 2 * (larger * math.sqrt(small + 1) + (classes - larger) * math.sqrt(small))

    def draw(self) -> RegressionData:
        """Return I_N and the one-hot rows."""
        rows = torch.nn.functional.one_hot(torch.arange(self.n_train) % self.classes, self.classes)
        return RegressionData(torch.eye(self.n_train, dtype=torch.float64), rows.to(torch.float64))


class ScalarFunction(RegressionDataModule):
    r"""Scalar inputs and outputs: points uniform on [-1, 1] and values of a function there.

    A network of depth 2 with bias needs at most 4 N neurons.

    Source: Jacot et al. 2022 (arXiv 2205.15809), Proposition 15.

    Args:
        function: "random" (independent standard Gaussian values) or "sine" (sin 2 pi x).
        n_train: N, the number of points.
        seed: Seed of points and values.

    Raises:
        ArgumentError: If the function has no such name.
    """

    name = "scalar"

    def __init__(self, *, function: str = "random", n_train: int = 6, seed: int = 0) -> None:
        super().__init__(n_train=n_train, seed=seed)
        if function not in ("random", "sine"):
            raise ArgumentError("function", "be random or sine", repr(function))
        self.function = function

    def draw(self) -> RegressionData:
        """Draw points and values."""
        generator = stream(self.seed, "points on a line")
        points = 2 * torch.rand(self.n_train, 1, generator=generator, dtype=torch.float64) - 1
        if self.function == "sine":
            return RegressionData(points, torch.sin(2 * math.pi * points))
        values = stream(self.seed, "values on a line")
        return RegressionData(points, torch.randn(points.shape, generator=values, dtype=torch.float64))
