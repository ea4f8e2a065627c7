"""Regression on the outputs of a random network of relu neurons."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from datamodules.regression import RegressionData, RegressionDataModule, check_least
from diffstab.errors import ArgumentError
from diffstab.streams import stream


class TeacherNetwork(RegressionDataModule):
    """Standard Gaussian inputs with the outputs of a teacher: relu layers without bias, linear output.

    The teacher's weights are independent Gaussians of variance 1 / n_{l-1}.

    Args:
        widths: n_0 ... n_L of the teacher.
        n_train: Number of training points.
        n_test: Number of test points.
        seed: Seed of the points and of the noise.
        teacher_seed: Seed of the teacher: the same network for every seed of the points.
        noise: Standard deviation of Gaussian noise on the training targets; test targets are the teacher's outputs.

    Raises:
        ArgumentError: If a number is out of range.
    """

    name = "teacher"

    def __init__(
        self,
        *,
        widths: Sequence[int] = (10, 10, 10, 1),
        n_train: int = 100,
        n_test: int = 1000,
        seed: int = 0,
        teacher_seed: int = 0,
        noise: float = 0.0,
    ) -> None:
        super().__init__(n_train=n_train, seed=seed)
        if len(widths) < 2 or min(widths) < 1:
            raise ArgumentError("widths", "be at least two numbers of at least 1", list(widths))
        check_least("n_test", n_test, 1)
        check_least("teacher_seed", teacher_seed, 0)
        if not 0 <= noise < math.inf:
            raise ArgumentError("noise", "be finite and at least 0", noise)
        self.widths, self.n_test, self.teacher_seed, self.noise = tuple(widths), n_test, teacher_seed, noise

    def draw(self) -> RegressionData:
        """Draw points, noise and, by its own seed, the teacher."""
        # Streams of their own: test points are the same for every number of training points.
        test = _normal(self.n_test, self.widths[0], stream(self.seed, "test points of a teacher"))
        train = _normal(self.n_train, self.widths[0], stream(self.seed, "training points of a teacher"))
        clean = self.teach(train)
        noise = _normal(self.n_train, self.widths[-1], stream(self.seed, "noise on a teacher"))
        return RegressionData(train, clean + self.noise * noise, test, self.teach(test))

    def teach(self, inputs: Tensor) -> Tensor:
        """Return the teacher's outputs (n, n_L) at inputs (n, n_0)."""
        generator = stream(self.teacher_seed, "weights of a teacher")
        outputs = inputs
        for layer, (below, above) in enumerate(pairwise(self.widths)):
            weight = torch.randn(below, above, generator=generator, dtype=inputs.dtype) / math.sqrt(below)
            outputs = (outputs.clamp(min=0) if layer else outputs) @ weight
        return outputs


def _normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


class ComposedTeacher(TeacherNetwork):
    """The outputs of a random function h(g(x)) that passes through few numbers, each output of unit variance.

    g and h are teachers of one hidden relu layer; between them lie `inner` numbers without a non-linearity, so that the
    function has bottleneck rank `inner` at most (Jacot, arXiv 2209.15055).

    Args:
        inner: Numbers between g and h.
        inputs: n_0.
        hidden: Width of the hidden layer of g and of h.
        outputs: n_L.
        n_train: Number of training points.
        n_test: Number of test points.
        seed: Seed of the points and of the function: each seed is another function.

    Raises:
        ArgumentError: If a number is out of range.
    """

    name = "composed"

    def __init__(
        self,
        *,
        inner: int = 2,
        inputs: int = 10,
        hidden: int = 30,
        outputs: int = 10,
        n_train: int = 200,
        n_test: int = 1000,
        seed: int = 0,
    ) -> None:
        widths = (inputs, hidden, inner, hidden, outputs)
        super().__init__(widths=widths, n_train=n_train, n_test=n_test, seed=seed, teacher_seed=seed)

    def teach(self, inputs: Tensor) -> Tensor:
        """Return h(g(x)), shape (n, n_L), at inputs (n, n_0).

        Inner numbers and outputs are in units of their standard deviations over points of a stream of their own.
        """
        generator = stream(self.teacher_seed, "weights of a composed teacher")
        first, second, third, fourth = (
            torch.randn(below, above, generator=generator, dtype=inputs.dtype)
            for below, above in pairwise(self.widths)
        )
        points = _normal(_SCALE_POINTS, self.widths[0], stream(self.seed, "scale of a composed teacher"))
        inner, reference = ((one.to(inputs) @ first).clamp(min=0) @ second for one in (inputs, points))
        mean, deviation = reference.mean(0), reference.std(0)
        outputs, scale = (
            ((one - mean) / deviation @ third).clamp(min=0) @ fourth for one in (inner, reference)
        )
        return outputs / scale.std(0)


_SCALE_POINTS = 1000
