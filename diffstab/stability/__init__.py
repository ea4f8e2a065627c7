"""Stability of predictors: D, G and R, their error bars, and what they are measured against.

The metrics are loaded when first asked for: torchmetrics takes seconds to import.
"""

from typing import TYPE_CHECKING

from diffstab.lazy import lazily
from diffstab.stability.bootstrap import Samples, StabilityInterval, bootstrap_interval
from diffstab.stability.deformations import (
    Deform,
    Deformed,
    diffeomorphism,
    random_rotation,
    random_sphere_rotation,
    random_translation,
)
from diffstab.stability.estimate import (
    PairedDifference,
    StabilityReport,
    measure_stability,
    paired_difference,
    stability_of,
    to_record,
)
from diffstab.stability.layers import fcn_layer_outputs, layer_outputs, layer_stability
from diffstab.stability.measures import Moments, Stability, output_moments, squared_changes
from diffstab.stability.noise import add_noise, change_norms, noise_norms
from diffstab.stability.numbered import numbered_pairs
from diffstab.stability.probes import ProbeDraw, Probes, draw_pairs
from diffstab.stability.sums import StabilitySums, stability, stability_sums
from diffstab.stability.transforms import rotate, rotate_towards, translate

if TYPE_CHECKING:
    from diffstab.stability.metric import (
        DeformationStability,
        NoiseStability,
        RelativeStability,
        stability_metrics,
    )

_METRICS = ("DeformationStability", "NoiseStability", "RelativeStability", "stability_metrics")

__all__ = [
    "Deform",
    "DeformationStability",
    "Deformed",
    "Moments",
    "NoiseStability",
    "PairedDifference",
    "ProbeDraw",
    "Probes",
    "RelativeStability",
    "Samples",
    "Stability",
    "StabilityInterval",
    "StabilityReport",
    "StabilitySums",
    "add_noise",
    "bootstrap_interval",
    "change_norms",
    "diffeomorphism",
    "draw_pairs",
    "fcn_layer_outputs",
    "layer_outputs",
    "layer_stability",
    "measure_stability",
    "noise_norms",
    "numbered_pairs",
    "output_moments",
    "paired_difference",
    "random_rotation",
    "random_sphere_rotation",
    "random_translation",
    "rotate",
    "rotate_towards",
    "squared_changes",
    "stability",
    "stability_metrics",
    "stability_of",
    "stability_sums",
    "to_record",
    "translate",
]


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, dict.fromkeys(_METRICS, "metric"))
