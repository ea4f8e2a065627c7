"""Isotropic noise of a given norm, matched to what a deformation did to each image.

Convention: the direction is uniform on the sphere and the norm is exact, |eta| = norm, image by image.
"""

import math

import torch
from torch import Tensor

from diffstab.diffeo.precision import working_dtype
from diffstab.errors import ArgumentError

NoiseKind = str | float

_ROUNDS = 4


def change_norms(clean: Tensor, changed: Tensor) -> Tensor:
    """Norms |changed - clean| of each image and field.

    Args:
        clean: Images, shape (P, ...).
        changed: Shape (k, P, ...).

    Returns:
        Shape (k, P), in the dtype of the images, float32 at least.
    """
    dtype = working_dtype(clean.dtype)
    moved = ((field.to(dtype) - clean.to(dtype)).flatten(1) for field in changed)
    return torch.stack([torch.linalg.vector_norm(change, dim=1) for change in moved])


def noise_norms(norms: Tensor, *, noise: NoiseKind) -> Tensor:
    """Norm of the noise for each image and field, from the norms of what the deformation did.

    Args:
        norms: |tau x - x|, shape (k, P).
        noise: "matched", the same image by image; "batch", their mean over all images and fields (the
            choice of arXiv 2105.02468); or a fixed norm > 0, in the units of the images.

    Returns:
        Shape (k, P).

    Raises:
        ArgumentError: `noise` is none of them.
    """
    if noise == "matched":
        return norms
    if noise == "batch":
        return norms.mean().expand_as(norms)
    if isinstance(noise, (int, float)) and not isinstance(noise, bool) and math.isfinite(noise) and noise > 0:
        return torch.full_like(norms, noise)
    raise ArgumentError("noise", 'be "matched", "batch" or a finite norm > 0', repr(noise))


def add_noise(images: Tensor, norms: Tensor, *, generator: torch.Generator) -> Tensor:
    """Images plus isotropic Gaussian directions scaled to given norms.

        x + eta,  eta = norm * g / |g|,  g ~ Normal(0, I)

    Drawn and added in float32 at least. For half-precision images the norm is that of the rounded sum less the image,
    to a few thousandths.

    Args:
        images: Shape (P, ...), floating.
        norms: |eta| of each image, shape (P,) in the units of the images; zero is allowed.
        generator: Source of the noise, on its own device.

    Returns:
        A new tensor of the shape, dtype and device of `images`.

    Raises:
        ArgumentError: Shapes do not fit or a norm is negative or not finite.
    """
    if norms.shape != images.shape[:1]:
        condition = f"have shape {tuple(images.shape[:1])}, one norm for each image"
        raise ArgumentError("norms", condition, f"shape {tuple(norms.shape)}")
    if not bool(((norms >= 0) & norms.isfinite()).all()):
        raise ArgumentError("norms", "be finite and >= 0", "a negative or non-finite norm")
    dtype = working_dtype(images.dtype)
    direction = torch.randn(images.shape, generator=generator, device=generator.device, dtype=dtype)
    return add_directions(images, norms, direction.to(images.device))


def add_directions(images: Tensor, norms: Tensor, directions: Tensor) -> Tensor:
    """Images (P, ...) plus directions (P, ...) scaled to norms (P,), all on one device; values are not checked."""
    flat = directions.to(working_dtype(images.dtype)).flatten(1)
    norms = norms.to(flat)
    scale = norms / torch.linalg.vector_norm(flat, dim=1)
    eta = (flat * scale[:, None]).view(images.shape)
    return images + eta if images.dtype == eta.dtype else _rounded_sum(images, eta, norms)


def _rounded_sum(images: Tensor, eta: Tensor, norms: Tensor) -> Tensor:
    """Half-precision images plus noise, scaled until the norm of what rounding leaves of it is the one asked for."""
    for _ in range(_ROUNDS):
        noisy = (images.to(eta) + eta).to(images.dtype)
        left = change_norms(images, noisy[None])[0]
        factor = torch.where(left > 0, norms / left, torch.ones_like(left))
        eta = eta * factor.view(-1, *[1] * (eta.ndim - 1))
    return noisy
