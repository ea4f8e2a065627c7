"""Predictors on the sphere, from points and values: exact lazy, exact feature, and trained; and their columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import multiplicities
from diffstab.solvers.sphere import train_sphere
from diffstab.sphere import spectra
from diffstab.sphere.harmonics import ZonalSum
from diffstab.sphere.lazy import field_averaged_error
from diffstab.sphere.targets import ConstantTarget, Target
from diffstab.stability import output_moments, squared_changes
from diffstab.streams import integer_seed

if TYPE_CHECKING:
    from diffstab.experiments.sphere import SphereMethod

KERNELS = {"ntk": "ntk", "random_features": "random_feature"}
"""Lazy predictors and the names of their kernels."""

REGIMES = {"ntk": "lazy", "random_features": "lazy", "exact": "feature", "trained": "feature"}
"""Predictors and what they stand for in tables and figures."""

_CPU = torch.device("cpu")


class Draw(NamedTuple):
    """What the methods of one place share.

    Attributes:
        target: The target.
        train: Training points, shape (n, d).
        values: Their values, shape (n,).
        test: Test points, shape (m, d).
        test_values: Their values, shape (m,).
        rotated: Test points, each rotated towards a random direction, shape (m, d).
    """

    target: Target
    train: Tensor
    values: Tensor
    test: Tensor
    test_values: Tensor
    rotated: Tensor


class Fitted(NamedTuple):
    """A predictor f(x) = sum_j coefficients_j kappa(x . centres_j).

    Attributes:
        predict: The predictor, from points (m, d) to values (m,).
        centres: Training points (lazy) or directions of neurons (feature), shape (k, d).
        coefficients: Shape (k,).
        columns: What the record says about the fit.
    """

    predict: Callable[[Tensor], Tensor]
    centres: Tensor
    coefficients: Tensor
    columns: dict[str, Any]


def fit(method: SphereMethod, drawn: Draw, *, seed: int, device: torch.device = _CPU) -> Fitted:
    """Fit one method on the training points of a draw; the seed is that of the run, the device that of a training."""
    if method.predictor in KERNELS:
        return _fit_kernel(method, drawn)
    if method.predictor == "exact":
        return _fit_exact(method, drawn)
    if method.predictor == "trained":
        return _fit_trained(method, drawn, seed, device)
    raise ArgumentError("predictor", f"be one of {', '.join(REGIMES)}", repr(method.predictor))


def _fit_kernel(method: SphereMethod, drawn: Draw) -> Fitted:
    from diffstab.kernels import NTKRegressor, as_predictor

    estimator = NTKRegressor(kernel=KERNELS[method.predictor], ridge=method.ridge)
    estimator.fit(drawn.train.numpy(), drawn.values.numpy())
    found = estimator.conditioning_
    columns = {
        "solver": found.solver,
        "rank": found.rank,
        "reciprocal_condition": found.reciprocal_condition,
        "residual": found.residual,
    }
    return Fitted(as_predictor(estimator), drawn.train, torch.from_numpy(estimator.dual_coef_), columns)


def _fit_exact(method: SphereMethod, drawn: Draw) -> Fitted:
    from diffstab.sphere.minnorm import MinNormReLU

    estimator = MinNormReLU(penalty=method.penalty, tol=method.tolerance)
    estimator.fit(drawn.train.numpy(), drawn.values.numpy())
    columns = {
        "n_atoms": len(estimator.atoms_),
        "objective": estimator.objective_,
        "gap": estimator.gap_,
        "tolerance": method.tolerance,
        "certificate": estimator.certificate_,
        "rounds": len(estimator.history_),
    }

    def predict(points: Tensor) -> Tensor:
        return torch.from_numpy(estimator.predict(points.numpy()))

    atoms, weights = torch.from_numpy(estimator.atoms_), torch.from_numpy(estimator.weights_)
    return Fitted(predict, atoms, weights, columns)


def _fit_trained(method: SphereMethod, drawn: Draw, seed: int, device: torch.device) -> Fitted:
    own = integer_seed(seed, "start of training", method.training.seed, below=2**63)
    settings = dataclasses.replace(method.training, seed=own)
    outcome = train_sphere(drawn.train.to(device), drawn.values.to(device), settings)
    columns = {
        "n_atoms": outcome.history[-1].n_atoms,
        "objective": outcome.objective,
        "steps": outcome.steps,
        "stop_reason": outcome.stop_reason,
        "history_steps": [float(entry.step) for entry in outcome.history],
        "history_objective": [entry.objective for entry in outcome.history],
        "history_atoms": [float(entry.n_atoms) for entry in outcome.history],
    }

    def predict(points: Tensor) -> Tensor:
        return outcome.predict(points.to(device)).to(points.device)

    return Fitted(predict, outcome.atoms.cpu(), outcome.weights.cpu(), columns)


def error_columns(predict: Callable[[Tensor], Tensor], drawn: Draw) -> dict[str, Any]:
    """Return the mean square errors on test and training points, and the standard error of the first.

    `drawn_error` is that of the one realisation, also where `averaged_columns` gives `test_error` another value.
    """
    squares = (predict(drawn.test) - drawn.test_values).square()
    error = float(squares.mean())
    return {
        "test_error": error,
        "test_error_se": float(squares.std() / len(squares) ** 0.5),
        "drawn_error": error,
        "averaged": False,
        "train_error": float((predict(drawn.train) - drawn.values).square().mean()),
    }


def averaged_columns(method: SphereMethod, drawn: Draw) -> dict[str, Any]:
    """Return the test error of a lazy predictor averaged over a Gaussian field; nothing for other runs."""
    field = spectra.field_of(drawn.target, drawn.train.shape[1])
    if field is None or method.predictor not in KERNELS:
        return {}
    found = field_averaged_error(method.predictor, field, drawn.train, drawn.test, ridge=method.ridge)
    spread = float(found.per_point.std() / len(found.per_point) ** 0.5)
    return {"test_error": found.mean, "test_error_se": spread, "averaged": True}


def rotation_columns(predict: Callable[[Tensor], Tensor], drawn: Draw) -> dict[str, float | None]:
    """Return the stability of a predictor to rotations of the test points.

    D_rotation = <|f(Rx) - f(x)|^2> / <|f(x) - f(z)|^2>, None for a predictor that is constant on the test
    points; its numerator stands beside it, as that of a constant target has nothing to be compared with.
    """
    clean = predict(drawn.test)
    numerator = float(squared_changes(clean, predict(drawn.rotated)).mean())
    moments = output_moments(clean)
    denominator = float(2 * moments.scatter / (moments.images - 1))
    ratio = numerator / denominator if denominator > 0 else None
    return {"D_rotation": ratio, "D_rotation_numerator": numerator, "D_rotation_denominator": denominator}


def power_columns(
    method: SphereMethod, fitted: Fitted, drawn: Draw, *, largest_degree: int, spectrum_points: int
) -> dict[str, Any]:
    """Return the power per degree of the error and of the target, and how the first was found.

    Exact for a constant target; averaged over a Gaussian field for lazy predictors; else estimated from the first
    `spectrum_points` test points, as is the target's own power where its law is not known. Nothing for no degree.
    """
    if not largest_degree:
        return {}
    n_train, dimension = drawn.train.shape
    degrees = spectra.degrees_to_measure(dimension, n_train, largest_degree)
    eigenvalues = spectra.profile_spectrum(method.predictor, dimension, degrees)
    points = drawn.test[:spectrum_points]
    values = drawn.test_values[:spectrum_points]
    field = spectra.field_of(drawn.target, dimension)
    if isinstance(drawn.target, ConstantTarget):
        summed = ZonalSum(fitted.centres, fitted.coefficients, eigenvalues)
        found = spectra.constant_error_power(summed, drawn.target.value)
    elif field is not None and method.predictor in KERNELS:
        found = spectra.averaged_error_power(
            method.predictor, field, drawn.train, degrees, ridge=method.ridge
        )
    else:
        found = spectra.estimated_error_power(points, fitted.predict(points) - values, degrees)
    variances = spectra.target_variances(drawn.target, dimension, degrees)
    if variances is None:
        power = spectra.estimated_error_power(points, values, degrees).power
    else:
        power = variances * multiplicities(degrees, dimension)
    return {
        "error_power": found.power.tolist(),
        "power_kind": found.kind,
        "target_power": power.tolist(),
        "learnt_degree": spectra.learnt_degree(method.predictor, dimension, n_train),
    }


def theory_columns(method: SphereMethod, drawn: Draw, *, largest_degree: int) -> dict[str, Any]:
    """Return what the theory of kernel regression says of the error and, up to a degree, of its power."""
    n_train, dimension = drawn.train.shape
    if method.predictor not in KERNELS:
        return {}
    theory = spectra.lazy_theory(method.predictor, drawn.target, dimension, n_train, ridge=method.ridge)
    if theory is None:
        return {}
    if not largest_degree:
        return {"theory_error": theory.total}
    degrees = spectra.degrees_to_measure(dimension, n_train, largest_degree)
    return {"theory_error": theory.total, "theory_power": theory.power[: degrees + 1].tolist()}


def picture_columns(fitted: Fitted, drawn: Draw) -> dict[str, list[float]]:
    """Return the sum that the predictor is and its training points, all coordinates in rows one after another."""
    return {
        "centres": fitted.centres.flatten().tolist(),
        "coefficients": fitted.coefficients.tolist(),
        "points": drawn.train.flatten().tolist(),
        "values": drawn.values.tolist(),
    }
