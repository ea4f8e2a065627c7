"""L2-regularised networks: three forms of the loss, forces, rank, plateau.

Public names are imported when first asked for, so that scipy loads only where it is used.
"""

from importlib import import_module
from typing import Any

_EXPORTS: dict[str, str] = {
    "balance": "prune",
    "bipartite_gram": "completely_positive",
    "covariance_loss": "covariances",
    "CovariancePair": "covariances",
    "covariances_of": "covariances",
    "cp_rank_bounds": "completely_positive",
    "CPRankBounds": "completely_positive",
    "factorise": "factorisation",
    "Forces": "forces",
    "forces": "forces",
    "forward": "network",
    "groups_of": "prune",
    "Inverse": "inverse",
    "L2Problem": "problem",
    "plateau_start": "plateau",
    "PlateauStart": "plateau",
    "project": "representations",
    "Pruned": "prune",
    "rank_bounds": "rank",
    "RankBounds": "rank",
    "reduce_rows": "rank",
    "reduced_inputs": "reduction",
    "representation_loss": "representations",
    "shrink": "prune",
    "triangle_free_factor": "completely_positive",
    "weight_loss": "network",
    "weights_of": "representations",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
