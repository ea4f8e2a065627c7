"""Activations of fully-connected nets, with the slope that a hand-written tangent needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor
from torch.nn import functional

from diffstab.errors import ArgumentError

ACTIVATIONS = ("relu", "softplus")


@lru_cache
def softplus_normalisation(beta: float) -> float:
    r"""Return a such that s(z) = a log(1 + exp(beta z)) / beta has E s(z)^2 = 1 for z ~ N(0, 1).

    Computed by a composite Gauss-Legendre rule on [-12, 12], whose panels resolve the bend of width 1 / beta.

    Args:
        beta: Sharpness of the softplus, > 0; beta -> infinity gives sqrt(2) relu(z).
    """
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(-12.0, 12.0, 2 + 2 * math.ceil(12.0 * max(beta, 1.0)))
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half) + half * nodes
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    second_moment = float(np.sum(half * weights * density * (np.logaddexp(0.0, beta * z) / beta) ** 2))
    return 1 / math.sqrt(second_moment)


@dataclass(frozen=True)
class Activation:
    """An elementwise non-linearity s and its derivative.

    Args:
        name: "relu", s(z) = max(z, 0); or "softplus", s(z) = a log(1 + exp(beta z)) / beta with a from
            `softplus_normalisation`.
        beta: Sharpness of the softplus, > 0; unused by relu.

    Raises:
        ArgumentError: If the name is unknown or beta is not positive.
    """

    name: str
    beta: float = 5.0

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ArgumentError("activation", f"be one of {', '.join(ACTIVATIONS)}", repr(self.name))
        if not (self.beta > 0 and math.isfinite(self.beta)):
            raise ArgumentError("beta", "be positive and finite", self.beta)

    def __call__(self, z: Tensor) -> Tensor:
        """Return s(z), of the shape of z; differentiable by autograd."""
        if self.name == "relu":
            return functional.relu(z)
        return softplus_normalisation(self.beta) * functional.softplus(z, self.beta)

    def value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return s(z) and s'(z) in one pass over z; the slope of relu at 0 is 0, as in autograd."""
        if self.name == "relu":
            return z.clamp_min(0), (z > 0).to(z.dtype)
        scale = softplus_normalisation(self.beta)
        # Few passes over z: these are as dear as the products of matrices around them.
        falling = z * -self.beta
        value = functional.logsigmoid(falling).mul_(-scale / self.beta)
        return value, falling.neg_().sigmoid_().mul_(scale)
