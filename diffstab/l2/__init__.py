"""L2-regularised networks: three forms of the loss, forces, rank, plateau.

Public names are imported when first asked for, so that scipy loads only where it is used.
"""

from typing import TYPE_CHECKING

from diffstab.lazy import lazily

if TYPE_CHECKING:
    from diffstab.l2.completely_positive import (
        CPRankBounds,
        bipartite_gram,
        cp_rank_bounds,
        triangle_free_factor,
    )
    from diffstab.l2.continuation import train_shrinking
    from diffstab.l2.covariances import CovariancePair, covariance_loss, covariance_pair, covariances_of
    from diffstab.l2.descent import Descended, DescentSettings, representation_cost, train_widths
    from diffstab.l2.factorisation import factorise
    from diffstab.l2.forces import Forces, constrained_forces
    from diffstab.l2.frank_wolfe import FrankWolfeMinimum, FrankWolfeSettings, minimise_covariances
    from diffstab.l2.geometry import class_separation, principal_planes
    from diffstab.l2.inverse import Inverse
    from diffstab.l2.kinks import stationarity
    from diffstab.l2.leaky import LeakyNets, Motion
    from diffstab.l2.network import draw_weights, forward, weight_loss, widen
    from diffstab.l2.plateau import PlateauStart, plateau_start
    from diffstab.l2.problem import L2Problem
    from diffstab.l2.projected import ProjectedSettings, train_representations
    from diffstab.l2.prune import Pruned, balance, groups_of, shrink
    from diffstab.l2.rank import RankBounds, rank_bounds, reduce_rows
    from diffstab.l2.reduction import reduced_inputs
    from diffstab.l2.representations import constraint_violation, project, representation_loss, weights_of

_EXPORTS = {
    "CPRankBounds": "completely_positive",
    "CovariancePair": "covariances",
    "Descended": "descent",
    "DescentSettings": "descent",
    "Forces": "forces",
    "FrankWolfeMinimum": "frank_wolfe",
    "FrankWolfeSettings": "frank_wolfe",
    "Inverse": "inverse",
    "L2Problem": "problem",
    "LeakyNets": "leaky",
    "Motion": "leaky",
    "PlateauStart": "plateau",
    "ProjectedSettings": "projected",
    "Pruned": "prune",
    "RankBounds": "rank",
    "balance": "prune",
    "bipartite_gram": "completely_positive",
    "class_separation": "geometry",
    "constrained_forces": "forces",
    "constraint_violation": "representations",
    "covariance_loss": "covariances",
    "covariance_pair": "covariances",
    "covariances_of": "covariances",
    "cp_rank_bounds": "completely_positive",
    "draw_weights": "network",
    "factorise": "factorisation",
    "forward": "network",
    "groups_of": "prune",
    "minimise_covariances": "frank_wolfe",
    "plateau_start": "plateau",
    "principal_planes": "geometry",
    "project": "representations",
    "rank_bounds": "rank",
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
__all__ = [
    "CPRankBounds",
    "CovariancePair",
    "Descended",
    "DescentSettings",
    "Forces",
    "FrankWolfeMinimum",
    "FrankWolfeSettings",
    "Inverse",
    "L2Problem",
    "LeakyNets",
    "Motion",
    "PlateauStart",
    "ProjectedSettings",
    "Pruned",
    "RankBounds",
    "balance",
    "bipartite_gram",
    "class_separation",
    "constrained_forces",
    "constraint_violation",
    "covariance_loss",
    "covariance_pair",
    "covariances_of",
    "cp_rank_bounds",
    "draw_weights",
    "factorise",
    "forward",
    "groups_of",
    "minimise_covariances",
    "plateau_start",
    "principal_planes",
    "project",
    "rank_bounds",
    "reduce_rows",
    "reduced_inputs",
    "representation_cost",
    "representation_loss",
    "shrink",
    "stationarity",
    "train_representations",
    "train_shrinking",
    "train_widths",
    "triangle_free_factor",
    "weight_loss",
    "weights_of",
    "widen",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _EXPORTS)
