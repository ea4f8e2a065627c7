"""Probes of images by their number: the same whatever batch or process an image comes in."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.deformations import Deform
from diffstab.stability.noise import NoiseKind
from diffstab.stability.probes import ProbeDraw, Probes, draw_pairs

BLOCK = 64
"""Images that are drawn together; part of the convention, as other blocks give other draws."""


def numbered_pairs(
    images: Tensor,
    numbers: Tensor,
    *,
    deform: Deform,
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    block_stream: Callable[[int], torch.Generator],
) -> Probes:
    """Deform images and add noise to them; what is drawn for an image depends on its number alone.

    Numbers are drawn in blocks of `BLOCK`, each block whole.

    Args:
        images: Shape (P, ...), floating, P >= 1; left as they are.
        numbers: Shape (P,), integers of at least 0, ascending: places of the images in their data set.
        deform: As of `draw_pairs`.
        noise: As of `draw_pairs`; "batch" is the mean over these images, and so depends on which they are.
        fields_per_image: Number k >= 1 of deformations and noise draws for each image.
        block_stream: Makes the generator of a block, always the same for its number: `stream(seed, "probes", b)`, say.

    Returns:
        The probes. Displacement and folded share are those of all fields of the blocks.

    Raises:
        ArgumentError: As `draw_pairs`, or numbers do not fit or do not ascend.
    """
    if not len(images) or numbers.shape != images.shape[:1] or bool((numbers.diff() <= 0).any()):
        condition = f"ascend, one for each of {len(images)} images"
        raise ArgumentError("numbers", condition, f"shape {tuple(numbers.shape)}")
    blocks, counts = torch.unique_consecutive(numbers // BLOCK, return_counts=True)

    def drawn(kind: NoiseKind) -> Probes:
        parts, start = [], 0
        for block, count in zip(blocks.tolist(), counts.tolist(), strict=True):
            here = slice(start, start + count)
            rows = (numbers[here] - block * BLOCK).to(images.device)
            # Places of images that are elsewhere hold one of these: each draw is for a place, whatever lies there.
            whole = images[start : start + 1].expand(BLOCK, *images.shape[1:]).clone()
            whole[rows] = images[here]
            probes = draw_pairs(
                whole,
                deform=deform,
                noise=kind,
                fields_per_image=fields_per_image,
                generator=block_stream(block),
            )
            parts.append(_rows_of(probes, rows))
            start += count
        return _joined(images, parts)

    if noise == "batch":
        # The same fields and directions again, at the mean norm.
        noise = float(drawn("matched").draw.deformation_norms.mean())
    return drawn(noise)


def _rows_of(probes: Probes, rows: Tensor) -> Probes:
    """Return the probes of some of the images."""
    draw = probes.draw
    return Probes(
        probes.clean[rows],
        probes.deformed[:, rows],
        probes.noisy[:, rows],
        draw._replace(
            deformation_norms=draw.deformation_norms[:, rows], noise_norms=draw.noise_norms[:, rows]
        ),
    )


def _joined(images: Tensor, parts: Sequence[Probes]) -> Probes:
    """Return blocks of probes as one, of images that they are cut from."""
    draws = [part.draw for part in parts]
    return Probes(
        images.detach(),
        torch.cat([part.deformed for part in parts], 1),
        torch.cat([part.noisy for part in parts], 1),
        ProbeDraw(
            deformation_norms=torch.cat([draw.deformation_norms for draw in draws], 1),
            noise_norms=torch.cat([draw.noise_norms for draw in draws], 1),
            delta_px=draws[0].delta_px,
            measured_delta_px=math.sqrt(sum(draw.measured_delta_px**2 for draw in draws) / len(draws)),
            temperature=draws[0].temperature,
            cutoff=draws[0].cutoff,
            folded_share=sum(draw.folded_share for draw in draws) / len(draws),
        ),
    )
