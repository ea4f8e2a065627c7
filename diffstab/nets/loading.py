"""Anybody's model by a short text: a class or factory of Python, torchvision, timm, or a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets.exported import read_model_file
from diffstab.nets.factories import BuiltModel, build, factory_at, timm_model, torchvision_model
from diffstab.nets.fitted import fitted_model, is_fitted
from diffstab.nets.preprocessing import Preprocessing
from diffstab.nets.weights import WEIGHT_FILES, WeightsFile, put_weights, read_weights, weights_hash

LIBRARIES = ("torchvision", "timm")


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be measured.

    Attributes:
        module: Takes preprocessed images (n, C, h, w); in eval mode where it is a module.
        name: Short name for tables.
        source: What it was loaded from.
        preprocessing: Of images in [0, 1]; part of the model.
        weights: Name or file of the weights; "" for those of initialisation.
        weights_hash: Hash of names and values of the weights; "" where there are none to see.
        has_layers: Whether its layers can be measured.
        input_size: Height and width of what enters it, where that is known; None takes any.
        batch_size: Number of images that it was exported for; it takes others in parts.
        expected: Preprocessing that came with the weights, whatever `preprocessing` is; None where none did.
        notes: What a person should know about how it was loaded, one sentence each.
    """

    module: Callable[[Tensor], Any]
    name: str
    source: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    weights: str = ""
    weights_hash: str = ""
    has_layers: bool = True
    input_size: tuple[int, int] | None = None
    batch_size: int | None = None
    expected: Preprocessing | None = None
    notes: tuple[str, ...] = ()

    def __call__(self, images: Tensor) -> Any:
        """Return the model's output on images in [0, 1]."""
        return self.module(self.preprocessing(images))

    @property
    def is_trained(self) -> bool:
        """Whether weights were asked for; a file of a whole model has its own."""
        return bool(self.weights)


def load_model(
    model: str,
    *,
    init_args: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    untrained: bool = False,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> LoadedModel:
    """Load a model. Files are read without running code that they bring along, but for TorchScript's own.

    Args:
        model: "package.module:name" (a class, a factory or a model), "torchvision:resnet18", "timm:resnet18"; a file:
            torch.export (.pt2), TorchScript, ONNX (.onnx); or the folder of a run of `diffstab fit`, or a checkpoint
            in it.
        init_args: Arguments of the class or factory; mappings of class_path and init_args are made first. A Lightning
            module takes those that are missing from its checkpoint.
        weights: File of a state dict, alone or in that of a training (Lightning's .ckpt, say), or a name of the
            library's weights (IMAGENET1K_V1, DEFAULT); None leaves the initial ones.
        untrained: Leave the initial weights, though `weights` are named: the same net before training.
        preprocessing: What images in [0, 1] go through; a mapping changes single fields of that of the weights.
        seed: Of initial weights.

    Raises:
        ArgumentError: If there is no such model, it cannot be made so, or the weights are not its own.
        DataError: If a file is missing, damaged, or holds something else.
    """
    options, source = dict(init_args or {}), str(model)
    library, _, name = source.partition(":")
    if library in LIBRARIES and name:
        found = _of_library(library, name, options, weights=weights, untrained=untrained, seed=seed)
    elif is_fitted(source):
        found = _of_fit(source, options, weights=weights, untrained=untrained)
    elif _is_path(source):
        found = _of_file(source, options, weights=weights, untrained=untrained)
    elif library and name:
        found = _of_code(source, options, weights=weights, untrained=untrained, seed=seed)
    else:
        way_out = "A class of yours is package.module:Class; see also torchvision:resnet18."
        raise ArgumentError(
            "model", "be package.module:name, torchvision:name, timm:name or a file", repr(source), way_out
        )
    return _with_preprocessing(found, preprocessing)


def _of_library(
    library: str,
    name: str,
    options: dict[str, Any],
    *,
    weights: str | Path | None,
    untrained: bool,
    seed: int,
) -> LoadedModel:
    file = None if weights is None or not _is_weights_file(weights) else Path(weights)
    named = None if file is not None or weights is None else str(weights)
    make = torchvision_model if library == "torchvision" else timm_model
    built = make(name, options, weights=named, untrained=untrained, seed=seed)
    read = None if file is None or untrained else read_weights(file)
    loaded = _finished(built, f"{library}:{name}", name, read)
    return loaded if named is None or untrained else replace(loaded, weights=named)


def _of_code(
    source: str, options: dict[str, Any], *, weights: str | Path | None, untrained: bool, seed: int
) -> LoadedModel:
    read = None if weights is None else read_weights(weights)
    if read is not None and hasattr(factory_at(source), "load_from_checkpoint"):
        options = {**_hyper_parameters(read, factory_at(source)), **options}
    built = build(source, options, seed=seed, fresh=untrained)
    return _finished(built, source, source.partition(":")[2], None if untrained else read)


def _of_file(
    source: str, options: dict[str, Any], *, weights: str | Path | None, untrained: bool
) -> LoadedModel:
    _check_left_out(
        f"the file {source}", init_args=options or None, weights=weights, untrained=untrained or None
    )
    found = read_model_file(source)
    notes = () if found.has_layers else (f"{found.kind}: only the output can be measured, no layers.",)
    if found.batch_size is not None:
        notes = (
            f"Exported for {found.batch_size} images at once: only the output can be measured, in such parts.",
        )
    return LoadedModel(
        module=found.module.eval(),
        name=Path(source).stem,
        source=source,
        weights=Path(source).name,
        weights_hash=found.weights_hash,
        has_layers=found.has_layers,
        input_size=found.input_size,
        batch_size=found.batch_size,
        notes=notes,
    )


def _of_fit(
    source: str, options: dict[str, Any], *, weights: str | Path | None, untrained: bool
) -> LoadedModel:
    _check_left_out(f"the run {source}", init_args=options or None, weights=weights)
    found = fitted_model(source, untrained=untrained)
    return LoadedModel(
        module=found.module.eval(),
        name=found.name,
        source=source,
        preprocessing=found.preprocessing,
        weights="" if untrained else found.checkpoint.name,
        weights_hash=weights_hash(found.module.state_dict()),
        input_size=found.preprocessing.input_size,
        expected=found.preprocessing,
    )


def _check_left_out(what: str, **given: Any) -> None:
    for argument, value in given.items():
        if value is not None:
            raise ArgumentError(argument, f"be left out: {what} is a whole model", repr(value))


def _finished(built: BuiltModel, source: str, name: str, read: WeightsFile | None) -> LoadedModel:
    module, notes = built.module, []
    if not isinstance(module, nn.Module):
        if read is not None:
            raise ArgumentError("weights", "be left out: the model is a function", read.path.name)
        return LoadedModel(module=module, name=name, source=source, has_layers=False)
    if read is not None:
        notes = put_weights(module, read)
    return LoadedModel(
        module=module.eval(),
        name=name,
        source=source,
        preprocessing=built.preprocessing,
        weights="" if read is None else read.path.name,
        weights_hash=weights_hash(module.state_dict()),
        input_size=built.preprocessing.input_size,
        expected=None if built.preprocessing.is_identity else built.preprocessing,
        notes=tuple(notes),
    )


def _with_preprocessing(
    loaded: LoadedModel, preprocessing: Preprocessing | Mapping[str, Any] | None
) -> LoadedModel:
    if preprocessing is None:
        return loaded
    if not isinstance(preprocessing, Preprocessing):
        preprocessing = replace(loaded.preprocessing, **preprocessing)
    return replace(
        loaded, preprocessing=preprocessing, input_size=preprocessing.input_size or loaded.input_size
    )


def _hyper_parameters(read: WeightsFile, cls: Any) -> dict[str, Any]:
    """Return the arguments of a class of Lightning that its checkpoint keeps."""
    parameters = inspect.signature(cls).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    kept = {name: value for name, value in read.hyper_parameters.items() if not name.startswith("_")}
    return {name: value for name, value in kept.items() if takes_any or name in parameters}


def _is_weights_file(weights: str | Path) -> bool:
    text = str(weights)
    return isinstance(weights, Path) or text.endswith(WEIGHT_FILES) or "/" in text or Path(text).exists()


def _is_path(source: str) -> bool:
    endings = (".pt2", ".onnx", *WEIGHT_FILES)
    return source.endswith(endings) or (":" not in source and ("/" in source or Path(source).is_file()))
