"""The options that choose a model on a command line or in a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from diffstab.errors import ArgumentError
from diffstab.nets.loading import LoadedModel, load_model
from diffstab.nets.outputs import OutputPart, output_part


@dataclass(frozen=True)
class ModelChoice:
    """A model in plain values.

    Args:
        model: package.module:Class or factory, torchvision:NAME, timm:NAME, a file (.pt2, TorchScript, .onnx), or the
            folder of a `diffstab fit`.
        init_args: Arguments of the class or factory.
        weights: File of weights (a state dict or a checkpoint), or a name of the library's (DEFAULT).
        untrained: Keep the initial weights, though weights are named.
        output: Which part of the output is measured: index, key or attribute, with dots between several.
        resize: Shorter side that images are resized to, or height and width, pixels.
        crop: Side of the central part that is kept, or height and width, pixels.
        scale: What white is to be: 1, or 255 for a model of pixels from 0 to 255.
        mean: Mean of each channel that is taken off.
        std: Standard deviation of each channel that is divided by.
        channels: "rgb" or "bgr".
        seed: Seed of initial weights.

    Raises:
        ArgumentError: From `load`, if there is no such model or a value does not fit.
    """

    model: str
    init_args: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    untrained: bool = False
    output: str | None = None
    resize: int | list[int] | None = None
    crop: int | list[int] | None = None
    scale: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    channels: str | None = None
    seed: int = 0

    def load(self) -> LoadedModel:
        """Load the model."""
        return load_model(
            self.model,
            init_args=self.init_args,
            weights=self.weights,
            untrained=self.untrained,
            preprocessing=self.preprocessing,
            seed=self.seed,
        )

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """The fields of the preprocessing that are given; None if none is."""
        names = ("resize", "crop", "scale", "mean", "std", "channels")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given or None

    @property
    def part(self) -> OutputPart:
        """What picks the measured tensor from an output."""
        return output_part(self.output)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a `ModelChoice` to a parser; the model itself is the first argument."""
    parser.add_argument(
        "model",
        help="package.module:Class or factory, torchvision:NAME, timm:NAME, a file (.pt2, TorchScript, .onnx), or the "
        "folder of a `diffstab fit`",
    )
    group = parser.add_argument_group("model")
    group.add_argument(
        "--weights", help="file of weights, or a name of torchvision's (DEFAULT); none: untrained"
    )
    group.add_argument("--init_args", "--init-args", default="", help="its arguments, as '{depth: 20}'")
    group.add_argument("--output", help="part of its output: index, key or attribute, as logits or 0")
    group = parser.add_argument_group("what it does to images in [0, 1]; by itself that of named weights")
    group.add_argument("--mean", type=float, nargs="+", help="of each channel")
    group.add_argument("--std", type=float, nargs="+", help="of each channel")
    group.add_argument("--scale", type=float, help="255 for a model of pixels from 0 to 255")
    group.add_argument("--resize", type=int, nargs="+", help="shorter side, or height and width, pixels")
    group.add_argument("--crop", type=int, nargs="+", help="central part that is kept, pixels")
    group.add_argument("--channels", choices=("rgb", "bgr"), help="order of the channels")


def model_choice(options: argparse.Namespace) -> ModelChoice:
    """Return what the options of `add_model_options` ask for.

    Raises:
        ArgumentError: If `--init_args` is no mapping in YAML.
    """
    return ModelChoice(
        model=options.model,
        init_args=_mapping(options.init_args),
        weights=options.weights,
        output=options.output,
        resize=options.resize,
        crop=options.crop,
        scale=options.scale,
        mean=options.mean,
        std=options.std,
        channels=options.channels,
    )


def _mapping(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        raise ArgumentError("init_args", "be YAML", repr(text)) from error
    if not isinstance(content, Mapping):
        raise ArgumentError("init_args", "be a mapping, as '{depth: 20}'", repr(text))
    return dict(content)
