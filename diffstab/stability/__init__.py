"""Stability of predictors: D, G and R, their error bars, and what they are measured against.

`RelativeStability` is loaded when it is first asked for: torchmetrics takes seconds to import.
"""

from typing import TYPE_CHECKING

from diffstab.stability.bootstrap import Interval, Samples, bootstrap_interval, resampled_stability
from diffstab.stability.deformations import (
    Deform,
    Deformed,
    diffeomorphism,
    random_rotation,
    random_sphere_rotation,
    random_translation,
)
from diffstab.stability.estimate import (
    Draw,
    PairedDifference,
    Probes,
    StabilityReport,
    draw_pairs,
    measure_stability,
    paired_difference,
    stability_of,
    to_record,
)
from diffstab.stability.layers import fcn_layer_outputs, layer_outputs, layer_stability
from diffstab.stability.measures import (
    Moments,
    Stability,
    merge_moments,
    output_moments,
    squared_changes,
    stability,
)
from diffstab.stability.noise import add_noise, change_norms, noise_norms
from diffstab.stability.transforms import rotate, rotate_towards, translate

if TYPE_CHECKING:
    from diffstab.stability.metric import RelativeStability

__all__ = [
    "Deform",
    "Deformed",
    "Draw",
    "Interval",
    "Moments",
    "PairedDifference",
    "Probes",
    "RelativeStability",
    "Samples",
    "Stability",
    "StabilityReport",
    "add_noise",
    "bootstrap_interval",
    "change_norms",
    "diffeomorphism",
    "draw_pairs",
    "fcn_layer_outputs",
    "layer_outputs",
    "layer_stability",
    "measure_stability",
    "merge_moments",
    "noise_norms",
    "output_moments",
    "paired_difference",
    "random_rotation",
    "random_sphere_rotation",
    "random_translation",
    "resampled_stability",
    "rotate",
    "rotate_towards",
    "squared_changes",
    "stability",
    "stability_of",
    "to_record",
    "translate",
]


def __getattr__(name: str) -> object:
    if name == "RelativeStability":
        from diffstab.stability.metric import RelativeStability

        return RelativeStability
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
