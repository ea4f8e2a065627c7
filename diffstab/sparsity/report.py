"""Every scalar measure of a layer's sparsity at once, as columns of a record, and intervals for some."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.sparsity.angles import (
    nearest_angles_deg,
    principal_share,
    uniform_nearest_angle_deg,
    weighted_median,
)
from diffstab.sparsity.atoms import activation_atoms, dead_neurons, dead_share, direction_atoms
from diffstab.sparsity.measures import (
    CARRIED_SHARE,
    entropy_number,
    mass,
    mass_shares,
    number_carrying,
    participation_ratio,
    stable_rank,
)


class SparsityReport(NamedTuple):
    """Measures of one layer of H neurons.

    Attributes:
        n_atoms: Least number of activation atoms that hold 99 % of the mass (or the share asked for).
        n_patterns: Number of distinct activation patterns, whatever their mass.
        n_direction_atoms: As n_atoms, for groups of neurons within an angle.
        effective_neurons: Participation ratio of the masses.
        entropy_neurons: Exponential of the entropy of the masses.
        effective_atoms: Participation ratio of the masses of the activation atoms.
        stable_rank: Of the weights into the layer.
        dead_share: Share of neurons inactive on every point or of negligible mass.
        nearest_angle_deg: Median over neurons, weighted by mass, of the angle to the nearest one; NaN for one.
        uniform_nearest_angle_deg: Median of the same for H uniform directions.
        principal_share: Share of the mass-weighted directions along their first principal axis.
    """

    n_atoms: int
    n_patterns: int
    n_direction_atoms: int
    effective_neurons: float
    entropy_neurons: float
    effective_atoms: float
    stable_rank: float
    dead_share: float
    nearest_angle_deg: float
    uniform_nearest_angle_deg: float
    principal_share: float


def sparsity_report(
    weights_in: Tensor,
    weights_out: Tensor,
    x: Tensor,
    *,
    share: float = CARRIED_SHARE,
    angle_deg: float = 5.0,
) -> SparsityReport:
    """Measure the sparsity of one layer, the first of a net or, given its inputs, any other.

    Args:
        weights_in: Weights theta into the layer, shape (H, d).
        weights_out: Weights out of it, shape (H,) or (C, H).
        x: What the layer sees of the training set, shape (n, d).
        share: Share of the mass that the counted atoms hold, in (0, 1].
        angle_deg: Angle of the direction atoms.

    Raises:
        ArgumentError: If the shapes do not fit, an entry is not a finite float or a setting is out of range.
        DegenerateError: If all masses vanish.
    """
    masses = mass(weights_in, weights_out)
    atoms = activation_atoms(weights_in, x, masses=masses)
    directions = direction_atoms(weights_in, angle_deg=angle_deg, masses=masses)
    angles = _nearest(weights_in)
    neurons, dimension = weights_in.shape
    return SparsityReport(
        n_atoms=number_carrying(atoms.masses, share=share),
        n_patterns=len(atoms.masses),
        n_direction_atoms=number_carrying(directions.masses, share=share),
        effective_neurons=participation_ratio(masses),
        entropy_neurons=entropy_number(masses),
        effective_atoms=participation_ratio(atoms.masses),
        stable_rank=stable_rank(weights_in),
        dead_share=dead_share(weights_in, x, masses=masses),
        nearest_angle_deg=weighted_median(angles, masses),
        uniform_nearest_angle_deg=uniform_nearest_angle_deg(neurons, dimension) if neurons > 1 else math.nan,
        principal_share=principal_share(weights_in, masses=masses),
    )


def sparsity_to_record(report: SparsityReport, prefix: str = "") -> dict[str, float]:
    """Return the columns of a record, named after the fields of the report with a prefix ("init_", say)."""
    return {prefix + name: float(value) for name, value in report._asdict().items()}


class SparsityIntervals(NamedTuple):
    """Lower and upper ends for the measures that are averages over neurons, of the names in `SparsityReport`."""

    effective_neurons: tuple[float, float]
    entropy_neurons: tuple[float, float]
    dead_share: tuple[float, float]
    nearest_angle_deg: tuple[float, float]


def sparsity_intervals(
    weights_in: Tensor,
    weights_out: Tensor,
    x: Tensor,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> SparsityIntervals:
    """Percentile bootstrap over neurons: how far the numbers depend on which neurons the layer happens to have.

    Numbers of atoms and ranks have none: a resample repeats neurons, and so has fewer atoms than the layer. The
    angle of a neuron to its nearest one stays that within the whole layer. Where few neurons carry the mass, the
    resamples lose some of them and the intervals are rough. Seeds of training are the better source of error bars.

    Args:
        weights_in: Weights theta into the layer, shape (H, d).
        weights_out: Weights out of it, shape (H,) or (C, H).
        x: What the layer sees of the training set, shape (n, d).
        resamples: Number of resamples, at least 1.
        confidence: Nominal coverage, in (0, 1).
        generator: Source of the resampling.

    Raises:
        ArgumentError: If an argument is out of range.
        DegenerateError: If all masses vanish.

    Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.
    """
    if resamples < 1:
        raise ArgumentError("resamples", "be at least 1", resamples)
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)
    masses = mass(weights_in, weights_out).cpu()
    shares, angles = mass_shares(masses), _nearest(weights_in).cpu()
    dead = dead_neurons(weights_in, x, masses=masses).cpu().double()
    count = len(masses)
    drawn = torch.randint(count, (resamples, count), generator=generator, device=generator.device).cpu()
    draws = torch.stack(
        [
            _effective(shares[drawn]),
            _entropy(shares[drawn]),
            dead[drawn].mean(dim=1),
            _medians(angles[drawn], shares[drawn]),
        ]
    )
    levels = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = draws.nanquantile(levels, dim=1).tolist()
    return SparsityIntervals(*zip(low, high, strict=True))


def _nearest(theta: Tensor) -> Tensor:
    """Return the nearest angles; NaN for a neuron on its own."""
    return nearest_angles_deg(theta) if len(theta) > 1 else torch.full((1,), math.nan, dtype=torch.float64)


def _effective(rows: Tensor) -> Tensor:
    numbers: Tensor = rows.sum(dim=1).square() / rows.square().sum(dim=1)
    return numbers


def _entropy(rows: Tensor) -> Tensor:
    numbers: Tensor = torch.special.entr(rows / rows.sum(dim=1, keepdim=True)).sum(dim=1).exp()
    return numbers


def _medians(values: Tensor, weights: Tensor) -> Tensor:
    return torch.tensor([weighted_median(*row) for row in zip(values, weights)], dtype=torch.float64)
