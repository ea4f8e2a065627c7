"""Kernels of the lazy limit: exact ones of infinite width, estimators on them, and those of finite networks.

The estimators (`NTKRegressor`, `NTKClassifier`, `as_predictor`) import scikit-learn when first asked for. Up to some
10,000 points they are the way; `fit_ridge_path` takes 60,000.
"""

from typing import TYPE_CHECKING

from diffstab.kernels.empirical import empirical_ntk, kernel_alignment, kernel_drift
from diffstab.kernels.infinite_width import ntk, random_feature_kernel
from diffstab.kernels.ridge_path import RidgePath, RidgePathSettings, fit_ridge_path
from diffstab.lazy import lazily

if TYPE_CHECKING:
    from diffstab.kernels.ridge import Conditioning, NTKClassifier, NTKRegressor, as_predictor

_ESTIMATORS = ("Conditioning", "NTKClassifier", "NTKRegressor", "as_predictor")
__all__ = [
    "Conditioning",
    "NTKClassifier",
    "NTKRegressor",
    "RidgePath",
    "RidgePathSettings",
    "as_predictor",
    "empirical_ntk",
    "fit_ridge_path",
    "kernel_alignment",
    "kernel_drift",
    "ntk",
    "random_feature_kernel",
]


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__, dict.fromkeys(("Conditioning", "NTKClassifier", "NTKRegressor", "as_predictor"), "ridge")
    )
