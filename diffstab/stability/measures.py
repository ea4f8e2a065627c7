"""Stability of a predictor f to deformations and to noise: D, G and R = D / G, as pure functions.

    D = < |f(tau x) - f(x)|^2 >_{x, tau}  /  < |f(x) - f(z)|^2 >_{x != z}
    G = < |f(x + eta) - f(x)|^2 >_{x, eta} /  the same
    R = D / G

Source: Petrini, Favero, Geiger, Wyart, "Relative stability toward diffeomorphisms indicates performance
in deep nets", NeurIPS 2021 (arXiv 2105.02468), section 3.

Conventions: averages are accumulated in float64; the median variant is the median over images of the squared
changes over the same (mean) denominator; several fields of one image are averaged before either.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError


class Stability(NamedTuple):
    """D, G and R of one predictor, with the averages they are made of.

    Attributes:
        deformation: D, mean squared change under deformation over `denominator`.
        noise: G, mean squared change under noise over `denominator`.
        relative: R = D / G; infinite or NaN when the predictor does not see the noise (G = 0).
        deformation_numerator: Mean over images (and fields) of |f(tau x) - f(x)|^2.
        noise_numerator: Mean over images (and draws) of |f(x + eta) - f(x)|^2.
        denominator: Mean over pairs of distinct images of |f(x) - f(z)|^2.
        deformation_median: D with the median over images in the numerator.
        noise_median: G with the median over images in the numerator.
        relative_median: deformation_median / noise_median.
    """

    deformation: Tensor
    noise: Tensor
    relative: Tensor
    deformation_numerator: Tensor
    noise_numerator: Tensor
    denominator: Tensor
    deformation_median: Tensor
    noise_median: Tensor
    relative_median: Tensor


class Moments(NamedTuple):
    """Moments of the outputs f_i of a set of images.

    Attributes:
        images: Number of images, P.
        mean: Mean output, shape (features,), float64.
        scatter: sum_i |f_i - mean|^2, a float64 scalar.
    """

    images: int
    mean: Tensor
    scatter: Tensor


def check_outputs(outputs: Tensor, *, argument: str) -> None:
    """Raise ArgumentError unless `outputs` is a finite, floating (P, ...) tensor with P >= 1."""
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        received = outputs.dtype if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ArgumentError(argument, "be a tensor of a real floating dtype", received)
    if outputs.ndim == 0 or outputs.numel() == 0:
        raise ArgumentError(argument, "have shape (P, ...) and not be empty", f"shape {tuple(outputs.shape)}")
    if not bool(outputs.isfinite().all()):
        raise ArgumentError(argument, "be finite", "NaN or infinity", "Did the training diverge?")


def flat_outputs(outputs: Tensor) -> Tensor:
    """Outputs (P,) or (P, ...) as float64 of shape (P, features), on the CPU where their device has none."""
    device = double_device(outputs.device)
    return outputs.detach().to(device).to(torch.float64).reshape(outputs.shape[0], -1)


def double_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU for one without float64 (Apple's MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


def squared_changes(f_clean: Tensor, f_changed: Tensor, *, argument: str = "f_changed") -> Tensor:
    """Squared change of the output of each image, averaged over its fields.

        s_i = (1/k) sum_j |f(x_ij) - f(x_i)|^2

    Args:
        f_clean: Outputs on the P images, shape (P,) or (P, ...).
        f_changed: Outputs on the changed images: the same shape, or (k, P, ...) for k changes of each image.
        argument: Name of `f_changed` in error messages.

    Returns:
        Shape (P,), float64.

    Raises:
        ArgumentError: Shapes do not fit, or a value is not finite.
    """
    check_outputs(f_clean, argument="f_clean")
    check_outputs(f_changed, argument=argument)
    if f_changed.shape not in (f_clean.shape, f_changed.shape[:1] + f_clean.shape):
        shape = tuple(f_clean.shape)
        condition = f"have the shape of f_clean, {shape}, or a number of fields in front of it"
        raise ArgumentError(argument, condition, f"shape {tuple(f_changed.shape)}")
    clean = flat_outputs(f_clean)
    changed = f_changed.detach().reshape(-1, *clean.shape)
    total = clean.new_zeros(clean.shape[0])
    for field in changed:  # one field at a time: float64 copies of all would be twice the caller's memory
        total += (flat_outputs(field) - clean).square_().sum(dim=1)
    return total / changed.shape[0]


def output_moments(f_clean: Tensor) -> Moments:
    """Count, mean and scatter of outputs of shape (P,) or (P, ...); raises ArgumentError like `stability`."""
    check_outputs(f_clean, argument="f_clean")
    outputs = flat_outputs(f_clean)
    mean = output_mean(outputs)
    return Moments(outputs.shape[0], mean, (outputs - mean).square_().sum())


def output_mean(outputs: Tensor) -> Tensor:
    """Mean (features,) of outputs (P, features); of a constant predictor the constant, to the bit."""
    return outputs[0] + (outputs - outputs[0]).mean(dim=0)


def median(values: Tensor) -> Tensor:
    """Median of a 1-d tensor: the mean of the two middle values when their number is even."""
    ordered, count = values.sort().values, values.numel()
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def stability_from_numerators(means: Tensor, medians: Tensor, denominator: Tensor) -> Stability:
    """Compose a Stability from (2, ...) means and medians (deformation, noise) and the denominator (...)."""
    mean_ratios, median_ratios = means / denominator, medians / denominator
    return Stability(
        deformation=mean_ratios[0],
        noise=mean_ratios[1],
        relative=means[0] / means[1],
        deformation_numerator=means[0],
        noise_numerator=means[1],
        denominator=denominator,
        deformation_median=median_ratios[0],
        noise_median=median_ratios[1],
        relative_median=medians[0] / medians[1],
    )
