"""A net that `diffstab fit` has trained, from the folder of its run: class, weights, normalisation of its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from yaml import YAMLError

from diffstab.errors import ArgumentError, DataError
from diffstab.nets.centred import CentredOutput
from diffstab.nets.factories import build, factory_at
from diffstab.nets.preprocessing import Preprocessing
from diffstab.nets.weights import WeightsFile, put_weights, read_weights
from diffstab.results import parse_yaml

_CONFIG = "config.yaml"
_CHECKPOINTS = "checkpoints"
_WAY_OUT = "Give the folder of a run, as results/fit/version_0."


@dataclass(frozen=True, eq=False)
class SpherePreprocessing(Preprocessing):
    """Images are centred by a mean image, and scaled to norm sqrt(C h w), after the steps of a `Preprocessing`.

    Args:
        centre: (C, h, w) mean image.
    """

    centre: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return the model's input (n, C, h, w) for images (n, C, H, W) in [0, 1]."""
        assert self.centre is not None
        images = super().__call__(images)
        if images.shape[1:] != self.centre.shape:
            condition = f"have the shape {tuple(self.centre.shape)} of the training images"
            raise ArgumentError("images", condition, tuple(images.shape[1:]))
        centred = images - self.centre.to(images)
        norms = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True)
        scaled: Tensor = centred * (math.sqrt(centred[0].numel()) / norms)
        return scaled

    @property
    def is_identity(self) -> bool:
        """Images never enter as they are."""
        return False

    def __str__(self) -> str:
        """Say what is done, in a few words."""
        size = "" if self.resize is None else f"resize {self.resize}, "
        return f"{size}centred by the mean image of the training, on a sphere"


class FittedModel(NamedTuple):
    """What a run has left.

    Attributes:
        module: The trained net f, or F = alpha (f - xi f_0) where xi is not 0; before training, f_0.
        name: Of the folder of the run.
        checkpoint: Where the weights come from.
        preprocessing: The normalisation of its data.
    """

    module: nn.Module
    name: str
    checkpoint: Path
    preprocessing: Preprocessing


def is_fitted(source: str) -> bool:
    """Whether a text is the folder of a run, or a checkpoint of Lightning in it."""
    path = Path(source).expanduser()
    return path.is_dir() or (path.suffix == ".ckpt" and path.is_file())


def fitted_model(source: str, *, untrained: bool = False) -> FittedModel:
    """Load the net of a run of `diffstab fit`.

    Args:
        source: Its folder (with config.yaml and checkpoints/), whose final.ckpt or only checkpoint is taken; or a
            checkpoint in it.
        untrained: Take the net as it was before training.

    Raises:
        DataError: Configuration, checkpoint or training data are missing or damaged.
        ArgumentError: The run is not that of a net on images, or the checkpoint is not its own.
    """
    path = Path(source).expanduser()
    folder = path if path.is_dir() else path.parent.parent
    config = _config(folder / _CONFIG)
    spec = _mapping(config.get("model"))
    if "class_path" not in _mapping(spec.get("net")):
        received = ", ".join(spec) or "nothing"
        raise ArgumentError("model", "have a net with class_path in its run", f"{folder} ({received})")
    checkpoint = path if path.is_file() else _checkpoint(folder / _CHECKPOINTS)
    net = build(_path(spec["net"]), _mapping(spec["net"].get("init_args"))).module
    module = _with_weights(net, spec, read_weights(checkpoint), untrained=untrained)
    return FittedModel(module, folder.resolve().name, checkpoint, _preprocessing(config.get("data")))


def _config(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise DataError("The folder is not that of a run: it has no config.yaml", path.parent, _WAY_OUT)
    try:
        return _mapping(parse_yaml(path.read_bytes()))
    except (YAMLError, UnicodeError) as error:
        raise DataError(f"The configuration of the run is damaged: {error}", path, _WAY_OUT) from error


def _checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob("*.ckpt"))
    final = folder / "final.ckpt"
    if final in found or len(found) == 1:
        return final if final in found else found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise DataError(
        f"The run has no final.ckpt, and of others {names}", folder, "Give one of them, or train."
    )


def _with_weights(
    net: nn.Module, spec: Mapping[str, Any], file: WeightsFile, *, untrained: bool
) -> nn.Module:
    """Return f_0, f or F = alpha (f - xi f_0), with the weights of a checkpoint of a `Task`."""
    xi = float(spec.get("xi", 1.0))
    prefix = "predictor.initial." if untrained else "predictor." if xi else "predictor.net."
    module = CentredOutput(net, alpha=float(spec.get("alpha", 1.0)), xi=xi) if xi and not untrained else net
    state = {name.removeprefix(prefix): one for name, one in file.state.items() if name.startswith(prefix)}
    put_weights(module, file._replace(state=state or file.state))
    return module


def _preprocessing(data: Any) -> Preprocessing:
    """Return what the data module of a run does to images in [0, 1]."""
    spec = _mapping(data)
    module: Any = _data_module(spec) if "class_path" in spec else None
    kind, side = getattr(module, "normalisation", None), getattr(module, "size", None)
    if kind not in ("none", "standard", "sphere"):
        received = spec.get("class_path", "none in its config.yaml")
        way_out = "Give class, weights, mean and std: --model package.module:Class --weights FILE --mean ... --std ..."
        raise ArgumentError("model", "be trained on data whose normalisation is known", received, way_out)
    resize = None if side is None else (side, side)
    if kind == "none":
        return Preprocessing(resize=resize)
    moments = module.moments()
    if kind == "sphere":
        return SpherePreprocessing(resize=resize, centre=moments.mean_image.float())
    mean, std = (
        tuple(values.flatten().tolist()) for values in (moments.channel_mean, moments.channel_deviation)
    )
    return Preprocessing(resize=resize, mean=mean, std=std)


def _data_module(spec: Mapping[str, Any]) -> Any:
    factory = factory_at(_path(spec), argument="data")
    try:
        return factory(**_mapping(spec.get("init_args")))
    except TypeError as error:
        raise ArgumentError("data", "be made with the arguments of the run", error) from error


def _path(spec: Mapping[str, Any]) -> str:
    module, _, name = str(spec["class_path"]).rpartition(".")
    return f"{module}:{name}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
