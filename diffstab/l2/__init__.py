"""L2-regularised networks: three forms of the loss, forces, rank, plateau.

Public names are imported when first asked for, so that scipy loads only where it is used.
"""

from importlib import import_module
from typing import Any

_EXPORTS: dict[str, str] = {
    "balance": "prune",
    "bipartite_gram": "completely_positive",
    "class_separation": "geometry",
    "constrained_forces": "forces",
    "constraint_violation": "representations",
    "covariance_loss": "covariances",
    "covariance_pair": "covariances",
    "CovariancePair": "covariances",
    "covariances_of": "covariances",
    "cp_rank_bounds": "completely_positive",
    "CPRankBounds": "completely_positive",
    "Descended": "descent",
    "DescentSettings": "descent",
    "draw_weights": "network",
    "factorise": "factorisation",
    "Forces": "forces",
    "forward": "network",
    "FrankWolfeMinimum": "frank_wolfe",
    "FrankWolfeSettings": "frank_wolfe",
    "groups_of": "prune",
    "Inverse": "inverse",
    "L2Problem": "problem",
    "minimise_covariances": "frank_wolfe",
    "plateau_start": "plateau",
    "PlateauStart": "plateau",
    "principal_planes": "geometry",
    "project": "representations",
    "ProjectedSettings": "projected",
    "Pruned": "prune",
    "rank_bounds": "rank",
    "RankBounds": "rank",
    "reduce_rows": "rank",
    "reduced_inputs": "reduction",
    "representation_cost": "descent",
    "representation_loss": "representations",
    "shrink": "prune",
    "stationarity": "kinks",
    "train_representations": "projected",
    "train_shrinking": "continuation",
    "train_widths": "descent",
    "triangle_free_factor": "completely_positive",
    "weight_loss": "network",
    "weights_of": "representations",
    "widen": "network",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
