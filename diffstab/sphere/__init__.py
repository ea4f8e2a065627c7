"""Regression on the sphere S^(d-1): targets, lazy theory and the exact predictor of the feature regime.

Public names are imported when first asked for, so that scikit-learn and scipy load only where they are used.
"""

from importlib import import_module
from typing import Any

_EXPORTS: dict[str, str] = {
    "ConstantTarget": "targets",
    "GaussianField": "fields",
    "GaussianFieldTarget": "targets",
    "Target": "targets",
    "TeacherTarget": "targets",
    "uniform_points": "points",
    "ExponentFit": "curves",
    "fit_exponent": "curves",
    "predicted_exponent": "curves",
    "MinNormReLU": "minnorm",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
