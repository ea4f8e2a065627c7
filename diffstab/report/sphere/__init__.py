"""The report of learning curves on the sphere: figures, exponents beside predictions, and the page."""

from diffstab.report.sphere.exponents import ExponentRow, exponent_rows, exponent_table
from diffstab.report.sphere.figures import (
    CirclePredictor,
    Theory,
    atoms,
    circle_predictors,
    error_spectrum,
    learning_curves,
)

__all__ = [
    "CirclePredictor",
    "ExponentRow",
    "Theory",
    "atoms",
    "circle_predictors",
    "error_spectrum",
    "exponent_rows",
    "exponent_table",
    "learning_curves",
]
