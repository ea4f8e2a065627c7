"""Draw what predictors are measured on: images with their deformed and their noisy versions."""

import inspect
import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from diffstab.diffeo.precision import without_autocast
from diffstab.errors import ArgumentError
from diffstab.stability.deformation import Deform, Deformed
from diffstab.stability.measures import check_outputs
from diffstab.stability.noise import NoiseKind, add_noise, change_norms, noise_norms
from diffstab.stability.reachable import reachable


class ProbeDraw(NamedTuple):
    """How probes were drawn; the five numbers are NaN unless they are random diffeomorphisms.

    Attributes:
        deformation_norms: |tau x - x|, shape (k, P).
        noise_norms: |eta|, shape (k, P).
        delta_px: Typical displacement asked for, pixels.
        measured_delta_px: Root mean square of the drawn displacements, pixels.
        temperature: T.
        cutoff: c.
        folded_share: Share of the fields that fold the image.
    """

    deformation_norms: Tensor
    noise_norms: Tensor
    delta_px: float
    measured_delta_px: float
    temperature: float
    cutoff: float
    folded_share: float


class Probes(NamedTuple):
    """Images with their deformed and noisy versions, to measure any number of predictors on.

    Attributes:
        clean: Images x, shape (P, ...).
        deformed: tau x, k fields per image, shape (k, P, ...).
        noisy: x + eta, shape (k, P, ...).
        draw: How they were drawn.
    """

    clean: Tensor
    deformed: Tensor
    noisy: Tensor
    draw: ProbeDraw


def draw_pairs(
    images: Tensor,
    *,
    deform: Deform | Callable[[Tensor], Tensor],
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    generator: torch.Generator,
) -> Probes:
    """Deform images and add noise to them.

    Fields and noise are drawn in float32 at least, also under autocast and for half-precision images; what
    comes back has the dtype of the images, and norms are those of what a predictor sees.

    Args:
        images: Shape (P, ...), floating; left as they are.
        deform: From `diffeomorphism`, `random_rotation` and the like, or any callable of that form; or an augmentation
            of kornia or torchvision, called with the images alone. What that draws from global generators (torch,
            numpy, random) or from generators of its own is a function of `generator` too, and all are put back.
        noise: "matched" (|eta| = |tau x - x| image by image), "batch" (their mean) or a fixed norm > 0.
        fields_per_image: Number k >= 1 of deformations and noise draws for each image.
        generator: Source of both; fields first, noise after.

    Raises:
        ArgumentError: An argument is out of range, or `deform` changes the shape or gives non-finite values.
    """
    check_outputs(images, argument="images")
    if fields_per_image < 1:
        raise ArgumentError("fields_per_image", "be >= 1", fields_per_image)
    images = images.detach()
    deformed = images.new_empty((fields_per_image, *images.shape))
    with without_autocast(images.device), without_autocast(torch.device("cpu")), torch.no_grad():
        draws = [deform_into(slot, images, deform, generator=generator) for slot in deformed]
        deformation = change_norms(images, deformed)
        noisy = torch.empty_like(deformed)
        for slot, norms in zip(noisy, noise_norms(deformation, noise=noise), strict=True):
            slot.copy_(add_noise(images, norms, generator=generator))
        draw = ProbeDraw(
            deformation_norms=deformation,
            noise_norms=change_norms(images, noisy)
            if _is_half(images)
            else noise_norms(deformation, noise=noise),
            delta_px=draws[0].delta_px,
            measured_delta_px=math.sqrt(sum(draw.measured_delta_px**2 for draw in draws) / len(draws)),
            temperature=draws[0].temperature,
            cutoff=draws[0].cutoff,
            folded_share=sum(draw.folded_share for draw in draws) / len(draws),
        )
    return Probes(images, deformed, noisy, draw)


def _is_half(images: Tensor) -> bool:
    return images.dtype not in (torch.float32, torch.float64)


def deform_into(slot: Tensor, images: Tensor, deform: Any, *, generator: torch.Generator) -> Deformed:
    """Fill the slot with deformed images; returns how they were deformed, the images being the slot."""
    slot.copy_(images)  # what the deformation gets: it may change its input, or return it
    if takes_generator(deform):
        draw = deform(slot, generator=generator)
    else:
        with seeded_from(generator, deform, device=images.device):
            draw = deform(slot)
    draw = Deformed(draw) if isinstance(draw, Tensor) else draw
    if not isinstance(draw, Deformed):
        raise ArgumentError("deform", "return images or a `Deformed`", type(draw).__name__)
    if draw.images.shape != images.shape:
        condition = f"keep the shape of the images, {tuple(images.shape)}"
        raise ArgumentError("deform", condition, f"shape {tuple(draw.images.shape)}")
    check_outputs(draw.images, argument="deformed images")
    # A copy first, as the result may be a view of the slot.
    slot.copy_(draw.images.detach().clone())
    return draw._replace(images=slot)


def takes_generator(deform: Callable[..., object]) -> bool:
    """Whether a deformation has an argument `generator` by name; keywords that it swallows do not count."""
    function = deform.forward if isinstance(deform, nn.Module) else deform
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return "generator" in parameters and parameters["generator"].kind in kinds


@contextmanager
def seeded_from(generator: torch.Generator, deform: object, *, device: torch.device) -> Iterator[None]:
    """Make what is drawn inside a function of the generator, whatever it is drawn from; put all back afterwards.

    Sources are the global generators of torch (of the CPU and of the device), numpy and random, and the generators
    that the deformation holds.
    """
    own = [held for held in reachable(deform, torch.Generator) if held is not generator]
    seeds = torch.randint(2**63 - 1, (2 + len(own),), generator=generator, device=generator.device).tolist()
    states = [held.get_state() for held in own]
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 (the global state is meant)
    with ExitStack() as stack:
        elsewhere = [] if device.type == "cpu" else [device]
        kind = elsewhere[0].type if elsewhere else "cuda"
        stack.enter_context(torch.random.fork_rng(devices=elsewhere, device_type=kind))
        torch.default_generator.manual_seed(seeds[0])
        if elsewhere:
            torch.get_device_module(device).manual_seed(seeds[0])
        random.seed(seeds[1])
        np.random.seed(seeds[1] % 2**32)  # noqa: NPY002
        for held, seed in zip(own, seeds[2:], strict=True):
            held.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            for held, state in zip(own, states, strict=True):
                held.set_state(state)
