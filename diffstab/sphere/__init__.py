"""Regression on the sphere S^(d-1): targets, lazy theory and the exact predictor of the feature regime.

Public names are imported when first asked for, so that scikit-learn and scipy load only where they are used.
"""

from importlib import import_module
from typing import Any

_EXPORTS: dict[str, str] = {
    "ConstantTarget": "targets",
    "draw_field_on_circle": "pictures",
    "draw_field_on_sphere": "pictures",
    "estimated_power_per_degree": "harmonics",
    "ExponentFit": "curves",
    "field_averaged_error": "lazy",
    "field_averaged_power": "lazy",
    "FieldAveragedError": "lazy",
    "fit_exponent": "curves",
    "GaussianField": "fields",
    "GaussianFieldTarget": "targets",
    "MinNormReLU": "minnorm",
    "power_per_degree": "harmonics",
    "PowerEstimate": "harmonics",
    "predicted_exponent": "curves",
    "Target": "targets",
    "TeacherTarget": "targets",
    "uniform_points": "points",
    "write_field_picture": "pictures",
    "ZonalSum": "harmonics",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
