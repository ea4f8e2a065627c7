"""Certified, attacked and random accuracy of a model against the whitened norm of the field."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.measuring.amounts import DIFFEOMORPHISM
from diffstab.measuring.images import UNKNOWN
from diffstab.measuring.one_call import Preparation
from diffstab.measuring.one_call import batch_size as fitting
from diffstab.measuring.running import trainer_of
from diffstab.measuring.settings import DeviceSettings
from diffstab.results import config_hash, write_atomically
from diffstab.stability import (
    Attacks,
    AttackSettings,
    Certificates,
    CertifySettings,
    Share,
    WhitenedSpan,
    attack,
    certificates,
    certify,
)

FOLDER = "certificates"
"""Folder of a results folder with a table of each certified model, as Parquet and CSV."""
_AT_ONCE = 10
_CERTIFIED_NORMS = [0.25 * step for step in range(13)]
_ATTACKED_NORMS = (0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class SandwichSettings:
    """Whether and how models are certified and attacked, beside the measurement.

    Args:
        certify: Certify the smoothed classifier.
        attack: Attack it and the model itself too, and try random fields.
        images: Number of images, the first ones of those that are measured.
        sigma: Standard deviation of the smoothing noise, in units of the first displacement and cut-off measured.
        draws: Draws for each image, and for each field that is tried.
        steps: Of an attack.
        restarts: Of an attack.

    Raises:
        ArgumentError: A value is out of range.
    """

    certify: bool = False
    attack: bool = False
    images: int = 100
    sigma: float = 1.0
    draws: int = 1000
    steps: int = 10
    restarts: int = 2

    def __post_init__(self) -> None:
        if self.attack and not self.certify:
            raise ArgumentError("attack", "go with certify", "attack alone", "Add --certify.")
        if self.images < 1:
            raise ArgumentError("images", "be at least 1", self.images)
        CertifySettings(sigma=self.sigma, draws=self.draws)
        AttackSettings(steps=self.steps, restarts=self.restarts)


class _Subject:
    """A prepared model as a classifier of images in [0, 1]."""

    def __init__(self, ready: Preparation) -> None:
        self.module, self.subject = ready.subject.module, ready.subject
        tensors = list(self.module.parameters()) if isinstance(self.module, nn.Module) else []
        self.dtype = tensors[0].dtype if tensors else torch.float32

    def __call__(self, images: Tensor) -> Tensor:
        if self.subject.preprocessing is not None:
            images = self.subject.preprocessing(images)
        output = self.module(images.to(self.dtype))
        found: Tensor = self.subject.output(output) if self.subject.output else output
        return found


class _Sample(NamedTuple):
    images: Tensor
    numbers: Tensor
    labels: Tensor | None


def sandwich(
    ready: Preparation,
    settings: SandwichSettings,
    device: torch.device | str = "cpu",
    *,
    batch_size: int = 1000,
) -> pd.DataFrame:
    """Certify a model, and attack it if that is asked for.

    Args:
        ready: The model and the images; fields are those of its first displacement and cut-off.
        settings: How.
        device: Where the model runs meanwhile.
        batch_size: Versions of images in a call of the model; a quarter of it where gradients are kept.

    Returns:
        A row for each classifier ("smoothed" or "plain"), line ("certified", "attacked", "random") and norm: accuracy,
        accuracy_low, accuracy_high (what the draws leave open) and the settings. Without known classes of the images
        the class of the smoothed classifier without a field counts as right (is_labelled).

    Raises:
        ArgumentError: No displacement is measured, or the model is no classifier.
    """
    law = replace(_law(ready, settings), batch_size=batch_size)
    model, sample = _Subject(ready), _sample(ready, settings.images)
    is_module = isinstance(model.module, nn.Module)
    place = next((one.device for one in model.module.parameters()), None) if is_module else None
    try:
        if place is not None:
            model.module.to(device)
        proved = _certified(model, sample, law)
        labels = _labels(model, sample, ready)
        known = proved.classes if labels is None else labels
        shares = [proved.accuracy(known, norm) for norm in _norms(law)]
        lines: _Lines = [("smoothed", "certified", _norms(law), shares)]
        for name in ("smoothed", "plain") if settings.attack else ():
            lines += _attacked_lines(model, sample, known, law, settings, name)
    finally:
        if place is not None:
            model.module.to(place)
    return _frame(ready, law, lines, proved, is_labelled=labels is not None)


def write_sandwich(
    folder: Path, ready: Preparation, settings: SandwichSettings, devices: DeviceSettings, *, stem: str
) -> None:
    """Certify a model, unless its table is in the results folder already, and write it as Parquet and CSV."""
    told: dict[str, Any] = {
        "settings": str(settings),
        "law": str(_law(ready, settings)),
        "weights": ready.subject.weights_hash,
    }
    told |= {
        "data": ready.images.name,
        "numbers": ready.order[: settings.images].tolist(),
        "size": list(ready.size),
    }
    path = folder / FOLDER / f"{stem}-{config_hash(told)[:8]}.parquet"
    if path.exists():
        return
    trainer = trainer_of(devices, is_shown=False)
    versions = min(1000, ready.versions * fitting(ready, devices, trainer))
    frame = sandwich(ready, settings, trainer.strategy.root_device, batch_size=versions)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_atomically(path.with_suffix(".csv"), frame.to_csv(index=False).encode())
    write_atomically(path, buffer.getvalue())


def read_sandwiches(folder: Path) -> pd.DataFrame:
    """Return the tables of a results folder, one after another; empty without any."""
    frames = [pd.read_parquet(path) for path in sorted((folder / FOLDER).glob("*.parquet"))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _law(ready: Preparation, settings: SandwichSettings) -> CertifySettings:
    fields = [one for one in ready.settings.amounts if one.kind == DIFFEOMORPHISM]
    if not fields:
        raise ArgumentError("deltas", "hold a displacement for certificates", "none")
    delta_px, seed = fields[0].pixels(ready.size), ready.settings.seed
    return CertifySettings(delta_px, fields[0].cutoff, settings.sigma, settings.draws, seed=seed)


def _norms(law: CertifySettings) -> list[float]:
    return [law.sigma * norm for norm in _CERTIFIED_NORMS]


def _sample(ready: Preparation, count: int) -> _Sample:
    numbers = ready.order[:count]
    rows = [ready.images.read(number) for number in numbers.tolist()]
    labels = torch.tensor([row.label for row in rows])
    return _Sample(
        torch.stack([row.image for row in rows]), numbers, None if bool((labels == UNKNOWN).any()) else labels
    )


def _parts(sample: _Sample, what: str) -> Iterator[slice]:
    """Yield the places of a few images at a time, with a bar on the screen."""
    starts = range(0, len(sample.numbers), _AT_ONCE)
    for start in track(starts, description=what, console=Console(stderr=True), transient=True):
        yield slice(start, start + _AT_ONCE)


def _certified(model: Callable[[Tensor], Tensor], sample: _Sample, law: CertifySettings) -> Certificates:
    found = [
        certify(model, sample.images[part], law, numbers=sample.numbers[part])
        for part in _parts(sample, "certificates")
    ]
    return certificates(
        torch.cat([one.classes for one in found]), torch.cat([one.votes for one in found]), law
    )


def _labels(model: Callable[[Tensor], Tensor], sample: _Sample, ready: Preparation) -> Tensor | None:
    """Labels that count as the model's outputs do; None without."""
    if sample.labels is None:
        return None
    with torch.no_grad():
        first = next((one for one in _parameters(model)), sample.images)
        outputs = model(sample.images[:2].to(first.device))
    classes = outputs.shape[1] if outputs.ndim == 2 and outputs.shape[1] > 1 else 2
    names = len(ready.images.class_names)
    fits = int(sample.labels.max()) < classes and names in (0, classes)
    return sample.labels if fits else None


def _parameters(model: Any) -> Iterator[Tensor]:
    if isinstance(model.module, nn.Module):
        yield from model.module.parameters()


_Lines = list[tuple[str, str, Sequence[float], list[Share]]]


def _attacked_lines(
    model: Callable[[Tensor], Tensor],
    sample: _Sample,
    labels: Tensor,
    law: CertifySettings,
    settings: SandwichSettings,
    name: str,
) -> _Lines:
    """Accuracy of the smoothed or the plain classifier under attack, and under random fields."""
    norms = tuple(law.sigma * norm for norm in _ATTACKED_NORMS)
    law = replace(law, batch_size=max(1, law.batch_size // 4))
    search = AttackSettings(
        norms, steps=settings.steps, restarts=settings.restarts, smoothed=name == "smoothed"
    )
    found = Attacks.joined(
        [
            attack(model, sample.images[part], labels[part], law, search=search, numbers=sample.numbers[part])
            for part in _parts(sample, f"attacks, {name} classifier")
        ]
    )
    clean, shown = found.clean.accuracy(law.alpha), (0.0, *norms)
    return [
        (name, "attacked", shown, [clean, *found.attacked_accuracy()]),
        (name, "random", shown, [clean, *found.random_accuracy()]),
    ]


def _frame(
    ready: Preparation, law: CertifySettings, lines: _Lines, proved: Certificates, *, is_labelled: bool
) -> pd.DataFrame:
    span = WhitenedSpan(ready.size, delta_px=law.delta_px, cutoff=law.cutoff)
    told = {
        "model": ready.subject.name,
        "weights_hash": ready.subject.weights_hash,
        "dataset": ready.images.name,
        "images": len(proved.classes),
        "is_labelled": is_labelled,
        "abstained": float(proved.abstained.double().mean()),
        **{name: getattr(law, name) for name in ("delta_px", "cutoff", "sigma", "draws", "alpha", "seed")},
    }
    rows = [
        {
            **told,
            "classifier": classifier,
            "line": line,
            "norm": norm,
            "rms_px": span.rms_px(norm),
            "accuracy": share.value,
            "accuracy_low": share.low,
            "accuracy_high": share.high,
        }
        for classifier, line, norms, shares in lines
        for norm, share in zip(norms, shares, strict=True)
    ]
    return pd.DataFrame(rows)
