"""Stability of predictors: D, G and R, their error bars, and what they are measured against.

The metrics are loaded when first asked for: torchmetrics takes seconds to import.
"""

from typing import TYPE_CHECKING

from diffstab.lazy import lazily
from diffstab.stability.attack import Attacks, AttackSettings, Ballots, attack
from diffstab.stability.bootstrap import Samples, StabilityInterval, bootstrap_interval
from diffstab.stability.certify import Certificates, Share, certificates, certify
from diffstab.stability.certify_fields import WhitenedSpan
from diffstab.stability.certify_votes import CertifySettings, share_bounds
from diffstab.stability.deformations import (
    Deform,
    Deformation,
    Deformed,
    diffeomorphism,
    random_rotation,
    random_scaling,
    random_sphere_rotation,
    random_translation,
)
from diffstab.stability.draws import DrawSummary, numbered_pairs
from diffstab.stability.estimate import layer_stability, measure_stability, stability_of
from diffstab.stability.hierarchies import FeatureMoves, SynonymExchange
from diffstab.stability.layer_pass import LayerPass
from diffstab.stability.layers import fcn_layer_outputs, layer_outputs
from diffstab.stability.measures import Moments, Stability, output_moments, squared_changes
from diffstab.stability.noise import add_noise, change_norms, noise_norms
from diffstab.stability.pass_sums import PassSums, gathered
from diffstab.stability.probes import ProbeDraw, Probes, draw_pairs
from diffstab.stability.reports import (
    PairedDifference,
    StabilityReport,
    layer_intervals,
    paired_difference,
    paired_difference_of_sums,
    report_of,
    to_record,
)
from diffstab.stability.sums import StabilitySums, stability, stability_sums
from diffstab.stability.transforms import rotate, rotate_towards, scale, translate

if TYPE_CHECKING:
    from diffstab.stability.metric import (
        DeformationStability,
        NoiseStability,
        RelativeStability,
        stability_metrics,
    )

_METRICS = ("DeformationStability", "NoiseStability", "RelativeStability", "stability_metrics")

__all__ = [
    "AttackSettings",
    "Attacks",
    "Ballots",
    "Certificates",
    "CertifySettings",
    "Deform",
    "Deformation",
    "DeformationStability",
    "Deformed",
    "DrawSummary",
    "FeatureMoves",
    "LayerPass",
    "Moments",
    "NoiseStability",
    "PairedDifference",
    "PassSums",
    "ProbeDraw",
    "Probes",
    "RelativeStability",
    "Samples",
    "Share",
    "Stability",
    "StabilityInterval",
    "StabilityReport",
    "StabilitySums",
    "SynonymExchange",
    "WhitenedSpan",
    "add_noise",
    "attack",
    "bootstrap_interval",
    "certificates",
    "certify",
    "change_norms",
    "diffeomorphism",
    "draw_pairs",
    "fcn_layer_outputs",
    "gathered",
    "layer_intervals",
    "layer_outputs",
    "layer_stability",
    "measure_stability",
    "noise_norms",
    "numbered_pairs",
    "output_moments",
    "paired_difference",
    "paired_difference_of_sums",
    "random_rotation",
    "random_scaling",
    "random_sphere_rotation",
    "random_translation",
    "report_of",
    "rotate",
    "rotate_towards",
    "scale",
    "share_bounds",
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
