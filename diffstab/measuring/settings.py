"""How a model is measured: deformations, images, precision, devices, and protocols that fix them by name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffstab.errors import ArgumentError
from diffstab.measuring.amounts import Amount, parse_amount

LEAST_IMAGES = 128
"""Images of the first look at an interval."""
MOST_FIELDS = 16
"""Fields of an image at which a search for a narrow interval gives up."""


@dataclass(frozen=True)
class PassSettings:
    """What is drawn and how much of it.

    Args:
        deltas: Displacements of diffeomorphisms, "1px" or "0.5%" of the side of an image; numbers are pixels.
        cutoffs: High-frequency cut-offs c >= 2, with each of which every displacement is drawn.
        rotations: Angles, in degrees, of random sign.
        translations: Shifts in a random direction, as `deltas`.
        scalings: Shares, in per cent, by which images are magnified or shrunk.
        layers: Patterns of layers; "default" stands for the output, the input of the last linear layer and the ends of
            the stages, "output" for the output.
        images: Number of images, drawn by the seed, as even over the classes as it can be; None for all.
        seed: Of the choice of images, their deformations and noise, and the resamples of intervals.
        noise: "matched", "batch" or a norm, see `diffstab.stability.add_noise`.
        fields_per_image: Deformations and noise draws of each image.
        until: Half-width of the interval of the output's R, as a share of R, at which to stop; None measures all.
        equivariant: Measure E of layers whose output is a map, too: |f(tau x) - tau f(x)|^2 in the place of D's change.
        bootstrap: Resamples of the images behind each interval.
        confidence: Of the intervals.

    Raises:
        ArgumentError: A value is out of range.
    """

    deltas: Sequence[str | float] = ("1px",)
    cutoffs: Sequence[int] = (3,)
    rotations: Sequence[float] = ()
    translations: Sequence[str | float] = ()
    scalings: Sequence[str | float] = ()
    layers: Sequence[str] = ("default",)
    images: int | None = None
    seed: int = 0
    noise: str | float = "matched"
    fields_per_image: int = 1
    until: float | None = None
    equivariant: bool = False
    bootstrap: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.amounts:  # made here: a deformation that cannot be read is refused at once
            raise ArgumentError("deltas", "hold a deformation at least", "none")
        if not self.layers:
            raise ArgumentError("layers", "hold a pattern at least", "none", '"output" is the output alone.')
        if self.fields_per_image < 1:
            raise ArgumentError("fields_per_image", "be at least 1", self.fields_per_image)
        if self.until is not None and not 0 < self.until < 1:
            raise ArgumentError("until", "be a share between 0 and 1, 5% say", self.until)
        if not 0 < self.confidence < 1:
            raise ArgumentError("confidence", "lie strictly between 0 and 1", self.confidence)
        if self.bootstrap < 100:
            raise ArgumentError("bootstrap", "be at least 100", self.bootstrap)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        """All deformations, those of one cut-off together."""
        others = [
            parse_amount(str(value), kind=kind)
            for kind, values in (
                ("rotation", self.rotations),
                ("translation", self.translations),
                ("scaling", self.scalings),
            )
            for value in values
        ]
        fields = [parse_amount(str(delta), cutoff=c) for c in self.cutoffs for delta in self.deltas]
        if len(set(fields + others)) < len(fields + others):
            raise ArgumentError("deltas", "hold each deformation once", list(self.deltas))
        return (*fields, *others)


@dataclass(frozen=True)
class DeviceSettings:
    """Where a model is measured, in the words of `pytorch_lightning.Trainer`.

    Args:
        accelerator: "cpu", "gpu", "auto", ...
        devices: How many, or which.
        strategy: "auto" or "ddp": a process per device, started for the measurement.
        precision: "32-true", "bf16-mixed", ...
        batch_size: Images in a batch of a device; None chooses by the free memory.
        workers: Processes that read images, per device.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = 1
    strategy: str = "auto"
    precision: str = "32-true"
    batch_size: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        known = ("auto", "ddp", "ddp_spawn")
        if self.strategy not in known:
            raise ArgumentError("strategy", f"be one of {', '.join(known)}", repr(self.strategy))
        if self.batch_size is not None and self.batch_size < 1:
            raise ArgumentError("batch_size", "be at least 1", self.batch_size)
        if self.workers < 0:
            raise ArgumentError("workers", "be at least 0", self.workers)


@dataclass(frozen=True)
class Protocol:
    """Settings under a name, so that numbers of different people compare.

    Attributes:
        name: What stands beside each number.
        statistic: "mean" or "median" over images: which of the columns the protocol reports.
        settings: What it fixes.
        says: For a methods section, after "measured".
    """

    name: str
    statistic: str
    settings: PassSettings
    says: str


def _published(channels: int) -> PassSettings:
    """Settings behind the records that were published in 2021: another cut-off for colour images."""
    cutoff = 5 if channels == 3 else 3
    return PassSettings(cutoffs=(cutoff,), noise="batch", images=500)


def protocol(name: str | int, *, channels: int = 3) -> Protocol:
    """Return a protocol.

    Args:
        name: "1": displacement 1 pixel, cut-off 3, noise of the norm of each image's own deformation, means over
            images. "2021", that of the published records of arXiv 2105.02468: cut-off 5 for colour images and 3 for
            grey ones, noise of the mean norm of all deformations, medians over images. Both take 500 images, even
            over the classes, by seed 0, one deformation and one noise for each.
        channels: Of the images.

    Raises:
        ArgumentError: There is none of that name.
    """
    if str(name) == "1":
        settings = PassSettings(images=500)
        says = "with noise of the norm of each image's own deformation, as means over images"
        return Protocol("1", "mean", settings, says)
    if str(name) == "2021":
        says = "with noise of the mean norm of the deformations, as medians over images"
        return Protocol("2021", "median", _published(channels), says)
    raise ArgumentError("protocol", "be 1 or 2021", repr(name))


def under_protocol(settings: PassSettings, chosen: Protocol, *, available: int) -> PassSettings:
    """Return settings with what a protocol fixes; layers, resamples and the like stay.

    Args:
        settings: Those asked for.
        chosen: The protocol.
        available: Number of images there are; fewer than the protocol's are all measured.
    """
    fixed = chosen.settings
    count = min(available, fixed.images or available)
    own = {name: getattr(settings, name) for name in ("layers", "equivariant", "bootstrap", "confidence")}
    return replace(fixed, images=count, **own)


def parse_share(text: str | float, *, argument: str) -> float:
    """Read a share: "5%" or 0.05.

    Raises:
        ArgumentError: It is none between 0 and 1.
    """
    found = re.fullmatch(r"\s*([0-9.eE-]+)\s*(%?)\s*", str(text))
    try:
        value = float(found[1]) / (100 if found[2] else 1) if found else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise ArgumentError(argument, "be a share between 0 and 1, 5% say", repr(text))
    return value
