"""Functions on the sphere to be learnt; each can be built from YAML by its class path and arguments."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.sphere.fields import GaussianField
from diffstab.sphere.points import checked_points, normal_draws, uniform_points

_PRODUCTS_AT_ONCE = 2**23
"""Neurons times points evaluated together: blocks of 64 MiB."""


class Target(ABC):
    """A function on the sphere, possibly random: the generator decides the realisation."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short slug for records and titles."""

    @property
    @abstractmethod
    def smoothness(self) -> float:
        """nu_t: E|f(x) - f(y)|^2 ~ |x - y|^(2 nu_t) below 1; infinite for an analytic function."""

    @abstractmethod
    def values(self, points: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the values of one realisation.

        Args:
            points: Unit rows, float64, shape (n, d).
            generator: Decides the realisation.

        Returns:
            Shape (n,), float64.

        Raises:
            ArgumentError: If the points do not lie on the sphere.
        """


class ConstantTarget(Target):
    """The same value everywhere; the generator is not used.

    Args:
        value: That value, finite.

    Raises:
        ArgumentError: If it is not finite.
    """

    def __init__(self, value: float = 1.0) -> None:
        if not math.isfinite(value):
            raise ArgumentError("value", "be finite", value)
        self.value = value

    @property
    def name(self) -> str:
        """A short slug for records and titles."""
        return "constant" if self.value == 1 else f"constant_{self.value:g}"

    @property
    def smoothness(self) -> float:
        """nu_t of the realisations."""
        return math.inf

    def values(self, points: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the values of one realisation at the points (n, d), shape (n,); see `Target.values`."""
        return torch.full((len(checked_points("points", points)),), self.value, dtype=torch.float64)


class GaussianFieldTarget(Target):
    """An isotropic Gaussian random field of unit variance (see `GaussianField`).

    One call is one joint draw: pass training and test points together. The same generator state gives another
    function at other points.

    Args:
        smoothness: nu_t > 0.
        parity: "even" (no odd degrees, the field that ReLU neurons without bias can learn) or "all".

    Raises:
        ArgumentError: If an argument is out of range.
    """

    def __init__(self, smoothness: float, parity: str = "even") -> None:
        GaussianField(2, smoothness, parity=parity)  # refuse bad arguments here rather than at the first draw
        self._smoothness = smoothness
        self.parity = parity

    @property
    def name(self) -> str:
        """A short slug for records and titles."""
        return f"gaussian_{self._smoothness:g}" + ("" if self.parity == "even" else f"_{self.parity}")

    @property
    def smoothness(self) -> float:
        """nu_t of the realisations."""
        return self._smoothness

    def values(self, points: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the values of one realisation at the points (n, d), shape (n,); see `Target.values`."""
        field = GaussianField(checked_points("points", points).shape[1], self._smoothness, parity=self.parity)
        return field.sample(points, generator=generator)[0]


class TeacherTarget(Target):
    """A wide random network without bias: f(x) = sum_h w_h s(theta_h . x) / sqrt(H E[s^2]), s(u) = |u|^a or relu(u)^a.

    The w_h are standard Gaussian, the theta_h uniform on the unit sphere, E[s^2] is taken over a uniform x, so that
    f has mean 0 and variance 1 over the weights and x. In the limit of large H it is a Gaussian field whose variance
    per mode falls as k^(-2a - d), that is nu_t = a + 1/2, on even degrees only for |u|^a. It is a function: the same
    generator state gives the same one, whatever the points.

    Args:
        exponent: a > 0. |u|^a of an even a is a polynomial, of infinite smoothness; so is no relu(u)^a.
        activation: "abs" or "relu".
        width: H, number of neurons.
        coordinates: The neurons lie in the first so many coordinates, which makes f a function of these alone;
            all d of them if None.

    Raises:
        ArgumentError: If an argument is out of range.

    Source:
        Petrini et al. 2022 (arXiv 2206.12314), on targets of controlled smoothness. E|theta . x|^(2a) is a Beta
        integral.
    """

    def __init__(
        self,
        exponent: float = 1.0,
        activation: str = "abs",
        width: int = 10_000,
        coordinates: int | None = None,
    ) -> None:
        if not 0 < exponent < math.inf:
            raise ArgumentError("exponent", "be positive and finite", exponent)
        if activation not in ("abs", "relu"):
            raise ArgumentError("activation", "be 'abs' or 'relu'", repr(activation))
        if width < 1:
            raise ArgumentError("width", "be at least 1", width)
        if coordinates is not None and coordinates < 2:
            raise ArgumentError("coordinates", "be at least 2, or None for all", coordinates)
        self.exponent = exponent
        self.activation = activation
        self.width = width
        self.coordinates = coordinates

    @property
    def name(self) -> str:
        """A short slug for records and titles."""
        kind = f"{self.activation}_teacher_{self.exponent:g}"
        if self.coordinates is None:
            return kind
        plain = f"anisotropic_{self.coordinates}"
        return plain if kind == "abs_teacher_1" else f"{plain}_{self.activation}_{self.exponent:g}"

    @property
    def smoothness(self) -> float:
        """nu_t of the realisations."""
        polynomial = self.activation == "abs" and self.exponent % 2 == 0
        return math.inf if polynomial else self.exponent + 0.5

    def values(self, points: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the values of one realisation at the points (n, d), shape (n,); see `Target.values`."""
        dimension = checked_points("points", points).shape[1]
        coordinates = dimension if self.coordinates is None else self.coordinates
        if coordinates > dimension:
            raise ArgumentError("coordinates", f"be at most the dimension {dimension}", coordinates)
        neurons = uniform_points(self.width, coordinates, generator=generator).to(points.device)
        weights = normal_draws(self.width, generator=generator).to(points.device)
        weights /= math.sqrt(self.width * self._second_moment(dimension))
        rows = max(1, _PRODUCTS_AT_ONCE // self.width)
        blocks = torch.split(points[:, :coordinates], rows)
        return torch.cat([self._activate(block @ neurons.T) @ weights for block in blocks])

    def _activate(self, projections: Tensor) -> Tensor:
        positive = projections.abs_() if self.activation == "abs" else projections.clamp_(min=0)
        return positive if self.exponent == 1 else positive.pow_(self.exponent)

    def _second_moment(self, dimension: int) -> float:
        """E[s(theta . x)^2] over x uniform on the sphere; relu has half of it."""
        a, half = self.exponent, dimension / 2
        logarithm = math.lgamma(a + 0.5) + math.lgamma(half) - math.lgamma(a + half) - math.lgamma(0.5)
        return math.exp(logarithm) / (1 if self.activation == "abs" else 2)
