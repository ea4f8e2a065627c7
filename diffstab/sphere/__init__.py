"""Regression on the sphere S^(d-1): targets, lazy theory and the exact predictor of the feature regime.

Public names are imported when first asked for, so that scikit-learn and scipy load only where they are used.
"""

from typing import TYPE_CHECKING

from diffstab.lazy import lazily

if TYPE_CHECKING:
    from diffstab.sphere.curves import predicted_exponent
    from diffstab.sphere.exponents import ExponentFit, fit_exponent, slowest_rate
    from diffstab.sphere.fields import GaussianField
    from diffstab.sphere.harmonics import (
        PowerEstimate,
        ZonalSum,
        estimated_power_per_degree,
        power_per_degree,
    )
    from diffstab.sphere.lazy import FieldAveragedError, field_averaged_error, field_averaged_power
    from diffstab.sphere.minnorm import MinNormReLU
    from diffstab.sphere.pictures import draw_field_on_circle, draw_field_on_sphere, write_field_picture
    from diffstab.sphere.points import uniform_points
    from diffstab.sphere.targets import ConstantTarget, GaussianFieldTarget, Target, TeacherTarget

_EXPORTS = {
    "ConstantTarget": "targets",
    "ExponentFit": "exponents",
    "FieldAveragedError": "lazy",
    "GaussianField": "fields",
    "GaussianFieldTarget": "targets",
    "MinNormReLU": "minnorm",
    "PowerEstimate": "harmonics",
    "Target": "targets",
    "TeacherTarget": "targets",
    "ZonalSum": "harmonics",
    "draw_field_on_circle": "pictures",
    "draw_field_on_sphere": "pictures",
    "estimated_power_per_degree": "harmonics",
    "field_averaged_error": "lazy",
    "field_averaged_power": "lazy",
    "fit_exponent": "exponents",
    "power_per_degree": "harmonics",
    "predicted_exponent": "curves",
    "slowest_rate": "exponents",
    "uniform_points": "points",
    "write_field_picture": "pictures",
}
__all__ = [
    "ConstantTarget",
    "ExponentFit",
    "FieldAveragedError",
    "GaussianField",
    "GaussianFieldTarget",
    "MinNormReLU",
    "PowerEstimate",
    "Target",
    "TeacherTarget",
    "ZonalSum",
    "draw_field_on_circle",
    "draw_field_on_sphere",
    "estimated_power_per_degree",
    "field_averaged_error",
    "field_averaged_power",
    "fit_exponent",
    "power_per_degree",
    "predicted_exponent",
    "slowest_rate",
    "uniform_points",
    "write_field_picture",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _EXPORTS)
