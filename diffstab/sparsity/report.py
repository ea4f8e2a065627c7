"""Every scalar measure of a layer's sparsity at once."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from diffstab.sparsity.atoms import activation_atoms
from diffstab.sparsity.measures import (
    dead_share,
    entropy_number,
    mass,
    nearest_angles_deg,
    participation_ratio,
    stable_rank,
    weighted_median,
)


class SparsityReport(NamedTuple):
    """Measures of one layer: see the functions of `diffstab.sparsity` of the same names."""

    n_atoms: int
    effective_neurons: float
    entropy_neurons: float
    stable_rank: float
    dead_share: float
    nearest_angle_deg: float


def sparsity_report(weights_in: Tensor, weights_out: Tensor, x: Tensor) -> SparsityReport:
    """Measure a layer.

    Args:
        weights_in: theta (H, d).
        weights_out: Outgoing weights (H,) or (C, H).
        x: Training points (n, d).
    """
    masses = mass(weights_in, weights_out)
    return SparsityReport(
        n_atoms=activation_atoms(weights_in, x, masses).count(),
        effective_neurons=participation_ratio(masses),
        entropy_neurons=entropy_number(masses),
        stable_rank=stable_rank(weights_in),
        dead_share=dead_share(weights_in, x),
        nearest_angle_deg=weighted_median(nearest_angles_deg(weights_in), masses),
    )


def sparsity_to_record(report: SparsityReport, prefix: str = "") -> dict[str, float]:
    """Return the sparsity columns of a record, each name preceded by `prefix`."""
    return {prefix + name: float(value) for name, value in report._asdict().items()}
