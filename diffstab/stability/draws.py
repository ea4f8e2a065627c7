"""Deformed and noisy versions of images by their number: the same whatever batch or process an image comes in."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffstab.diffeo.precision import without_autocast
from diffstab.errors import ArgumentError
from diffstab.stability.deformation import Deform, Deformation, NumberedSource
from diffstab.stability.field_facts import FieldFacts
from diffstab.stability.measures import check_outputs
from diffstab.stability.noise import NoiseKind, add_directions, change_norms, noise_norms
from diffstab.stability.probes import ProbeDraw, Probes, deform_into
from diffstab.streams import NumberedStream, stream

AnyDeformation = Deformation | Deform | Callable[[Tensor], Tensor]

DRAWN = ("deformation_norms", "noise_norms", "squared_px", "folded")
"""Numbers of a `DrawSummary` for each image and field, in its order."""


class DrawSummary(NamedTuple):
    """How the versions of P images were drawn, k of each.

    Attributes:
        deformation_norms: |tau x - x|, shape (P, k), float64 on the CPU.
        noise_norms: |eta|, likewise.
        squared_px: Mean squared displacement over the pixels, likewise; NaN if it is no random diffeomorphism.
        folded: Whether the field folds, 0 or 1, likewise.
        delta_px: Typical displacement asked for, pixels.
        temperature: T.
        cutoff: c.
    """

    deformation_norms: Tensor
    noise_norms: Tensor
    squared_px: Tensor
    folded: Tensor
    delta_px: float
    temperature: float
    cutoff: float

    @property
    def measured_delta_px(self) -> float:
        """Root mean square of the drawn displacements, pixels."""
        return math.sqrt(float(self.squared_px.mean()))

    @property
    def folded_share(self) -> float:
        """Share of the fields that fold the image."""
        return float(self.folded.mean())

    @property
    def mean_deformation_norm(self) -> float:
        """Mean of |tau x - x|."""
        return float(self.deformation_norms.mean())

    @property
    def mean_noise_norm(self) -> float:
        """Mean of |eta|."""
        return float(self.noise_norms.mean())

    def facts(self) -> FieldFacts:
        """Facts about all fields, one after another."""
        return FieldFacts(self.squared_px.flatten(), self.folded.flatten())

    def rows(self, order: Tensor) -> "DrawSummary":
        """Those of some of the images, in an order."""
        tensors = {name: getattr(self, name)[order] for name in DRAWN}
        return self._replace(**tensors)

    def of_probes(self) -> ProbeDraw:
        """The same of probes."""
        return ProbeDraw(
            deformation_norms=self.deformation_norms.T,
            noise_norms=self.noise_norms.T,
            delta_px=self.delta_px,
            measured_delta_px=self.measured_delta_px,
            temperature=self.temperature,
            cutoff=self.cutoff,
            folded_share=self.folded_share,
        )

    @staticmethod
    def joined(parts: Sequence["DrawSummary"]) -> "DrawSummary":
        """Those of several sets of images, one after another."""
        tensors: Any = {name: torch.cat([getattr(part, name) for part in parts]) for name in DRAWN}
        return parts[0]._replace(**tensors)


class Versions(NamedTuple):
    """Versions of n images.

    Attributes:
        stack: x, then for each deformation and field tau x, x + eta and, with a floor, x blurred by the interpolation
            alone: shape (versions, n, ...).
        norms: |tau x - x| and |eta|, shape (deformations, fields, 2, n), on the device of the images.
        facts: For each deformation and field.
        parameters: Likewise, of the deformation; None of other people's.
        strengths: For each deformation: displacement asked for, temperature, cut-off.
    """

    stack: Tensor
    norms: Tensor
    facts: list[list[FieldFacts]]
    parameters: list[list[Tensor | None]]
    strengths: list[tuple[float, float, float]]

    def summaries(self, norms: Tensor) -> list[DrawSummary]:
        """How they were drawn; `norms` are those of the attribute, in float64 on the CPU."""
        found = []
        for place, (facts, strength) in enumerate(zip(self.facts, self.strengths, strict=True)):
            squared, folded = (torch.stack(part, dim=1) for part in zip(*facts, strict=True))
            deformed, noise = (norms[place, :, which].T for which in range(2))
            found.append(DrawSummary(deformed, noise, squared, folded, *strength))
        return found


class NumberedDraws:
    """Draws versions of images; what is drawn for an image depends on the seed, its number and the field alone.

    All deformations have the same noise directions, and strengths of one kind of field the same fields.

    Args:
        deformations: From `diffeomorphism` and the like; or any callable as of `draw_pairs`, which is called image by
            image.
        seed: Any integer.
        noise: As of `noise_norms`; "batch" is the mean over the images of one call, for each deformation.
        fields_per_image: Number k >= 1 of deformations and noise draws for each image.
        first_field: Number of the first of them: later ones are other draws for the same images.
        floor: Make the versions for the floor of interpolation too.

    Raises:
        ArgumentError: An argument is out of range.
    """

    def __init__(
        self,
        deformations: Sequence[AnyDeformation],
        *,
        seed: int,
        noise: NoiseKind = "matched",
        fields_per_image: int = 1,
        first_field: int = 0,
        floor: bool = False,
    ) -> None:
        if not deformations:
            raise ArgumentError("deformations", "be at least one", "none")
        if fields_per_image < 1:
            raise ArgumentError("fields_per_image", "be >= 1", fields_per_image)
        noise_norms(torch.ones(1, 1), noise=noise)  # bad values are refused here, not at first use
        self.deformations, self.noise, self.fields, self.floor = (
            list(deformations),
            noise,
            fields_per_image,
            floor,
        )
        if first_field < 0:
            raise ArgumentError("first_field", "be >= 0", first_field)
        self._seed, self._which = seed, range(first_field, first_field + fields_per_image)
        self._field_stream = NumberedStream(seed, "numbered fields")
        self._noise_stream = NumberedStream(seed, "numbered noise")

    @property
    def per_field(self) -> int:
        """Versions for one deformation and field: deformed, noisy and, with a floor, blurred."""
        return 3 if self.floor else 2

    @property
    def versions(self) -> int:
        """Versions of an image, itself included."""
        return 1 + len(self.deformations) * self.fields * self.per_field

    def has_floor(self, place: int) -> bool:
        """Whether what interpolation alone does is known for a deformation: it is not for other people's."""
        return self.floor and isinstance(self.deformations[place], Deformation)

    def mean_norms(self, images: Tensor, numbers: Tensor) -> list[float]:
        """Mean |tau x - x| over images and fields, for each deformation."""
        means = []
        for deformation in self.deformations:
            moved = [self._moved(images, numbers, deformation, field).images for field in self._which]
            means.append(float(change_norms(images, torch.stack(moved)).mean()))
        return means

    def draw(self, images: Tensor, numbers: Tensor, *, noise: Sequence[NoiseKind] | None = None) -> Versions:
        """Draw the versions of images.

        Args:
            images: (n, ...), floating, n >= 1; left as they are.
            numbers: (n,) their places in the data set, on the CPU.
            noise: Noise for each deformation, in place of the one of the draws.
        """
        kinds = [self.noise] * len(self.deformations) if noise is None else noise
        versions: list[list[Tensor]] = []
        norms, facts, parameters, strengths = [], [], [], []
        with without_autocast(images.device), without_autocast(torch.device("cpu")), torch.no_grad():
            directions = [self._directions(images, numbers, field) for field in self._which]
            for deformation, kind in zip(self.deformations, kinds, strict=True):
                moved = [self._moved(images, numbers, deformation, field) for field in self._which]
                deformed = change_norms(images, torch.stack([one.images for one in moved]))
                sizes = noise_norms(deformed, noise=kind)
                noisy = [add_directions(images, *pair) for pair in zip(sizes, directions, strict=True)]
                if images.dtype not in (torch.float32, torch.float64):
                    sizes = change_norms(images, torch.stack(noisy))  # rounding changes them
                versions += [self._each(one, other, images) for one, other in zip(moved, noisy, strict=True)]
                norms.append(torch.stack([deformed, sizes.expand_as(deformed)], dim=1))
                facts.append([one.facts for one in moved])
                parameters.append([one.parameters for one in moved])
                strengths.append(moved[0].strength)
        stack = torch.stack([images, *[version for several in versions for version in several]])
        return Versions(stack, torch.stack(norms), facts, parameters, strengths)

    def _each(self, moved: "_Moved", noisy: Tensor, images: Tensor) -> list[Tensor]:
        still = [images if moved.still is None else moved.still] if self.floor else []
        return [moved.images, noisy, *still]

    def _directions(self, images: Tensor, numbers: Tensor, field: int) -> Tensor:
        # Drawn in single precision: the directions are the same for images of either precision.
        drawn = self._noise_stream.normal(numbers, images.shape[1:], draw=field, dtype=torch.float32)
        return drawn.to(images.device, non_blocking=True)

    def _moved(self, images: Tensor, numbers: Tensor, deformation: AnyDeformation, field: int) -> "_Moved":
        if not isinstance(deformation, Deformation):
            return self._moved_one_by_one(images, numbers, deformation, field)
        shape = tuple(images.shape[1:])
        parameters = deformation.draw(NumberedSource(self._field_stream, numbers, field), shape)
        moved = deformation.apply(images, parameters)
        still = deformation.interpolation_alone(images, parameters) if self.floor else None
        facts, strength = deformation.facts(parameters, shape), deformation.strength(shape)
        return _Moved(moved, still, facts, parameters, strength)

    def _moved_one_by_one(
        self, images: Tensor, numbers: Tensor, deformation: Deform | Callable[[Tensor], Tensor], field: int
    ) -> "_Moved":
        result = torch.empty_like(images)
        found = []
        for place, number in enumerate(numbers.tolist()):
            generator = stream(self._seed, "numbered deformation", number, field)
            part = slice(place, place + 1)
            found.append(deform_into(result[part], images[part], deformation, generator=generator))
        facts = torch.tensor(
            [[one.measured_delta_px**2, one.folded_share] for one in found], dtype=torch.float64
        )
        strength = found[0].delta_px, found[0].temperature, found[0].cutoff
        return _Moved(result, None, FieldFacts(facts[:, 0], facts[:, 1]), None, strength)


class _Moved(NamedTuple):
    """Images moved by one field each, and blurred by its interpolation alone where that is known and wanted."""

    images: Tensor
    still: Tensor | None
    facts: FieldFacts
    parameters: Tensor | None
    strength: tuple[float, float, float]


def numbered_pairs(
    images: Tensor,
    numbers: Tensor,
    *,
    deform: AnyDeformation,
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    seed: int,
) -> Probes:
    """Deform images and add noise to them, as `LayerPass` and `measure_stability` do.

    What is drawn for an image depends on the seed and its number alone.

    Args:
        images: Shape (P, ...), floating, P >= 1; left as they are.
        numbers: Shape (P,), integers of at least 0: places of the images in their data set.
        deform: As of `draw_pairs`.
        noise: As of `draw_pairs`; "batch" is the mean over these images, and so depends on which they are.
        fields_per_image: Number k >= 1 of deformations and noise draws for each image.
        seed: Any integer.

    Raises:
        ArgumentError: As `draw_pairs`, or numbers do not fit.
    """
    check_outputs(images, argument="images")
    images, numbers = images.detach(), checked_numbers(numbers, len(images))
    if isinstance(deform, Deformation):
        deform.check(images)
    draws = NumberedDraws([deform], seed=seed, noise=noise, fields_per_image=fields_per_image)
    versions = draws.draw(images, numbers)
    summary = versions.summaries(versions.norms.cpu().double())[0]
    if isinstance(deform, Deformation):
        deform.warn(summary.facts(), tuple(images.shape[1:]))
    drawn = summary.of_probes()
    norms = {name: getattr(drawn, name).to(versions.norms) for name in ("deformation_norms", "noise_norms")}
    return Probes(images, versions.stack[1::2], versions.stack[2::2], drawn._replace(**norms))


def checked_numbers(numbers: Tensor, images: int) -> Tensor:
    """Numbers of images (n,) as integers on the CPU; raises ArgumentError unless they are n different ones >= 0."""
    found = torch.as_tensor(numbers).cpu()
    if found.shape != (images,) or found.is_floating_point() or found.dtype == torch.bool:
        received = f"{found.dtype} of shape {tuple(found.shape)}"
        raise ArgumentError("numbers", f"be integers, one for each of {images} images", received)
    if int(found.min()) < 0 or len(set(found.tolist())) < images:
        raise ArgumentError("numbers", "be different integers of at least 0", found.tolist()[:5])
    return found.to(torch.int64)
