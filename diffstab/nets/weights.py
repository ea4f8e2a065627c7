"""Weights from files: read as plain tensors only, and refused where they are not those of the net."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from diffstab.errors import ArgumentError, DataError
from diffstab.extras import require

WEIGHT_FILES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".safetensors")
"""Endings of files of weights; others are taken too."""

_INNER = ("state_dict", "model_state_dict", "model", "net", "params")
"""Where in a file of a training the state dict is, most usual first."""

_PREFIXES = (
    "module.",
    "model.",
    "net.",
    "_orig_mod.",
    "model.module.",
    "model._orig_mod.",
    "predictor.net.",
    "predictor.",
)
"""What wrappers put before the names: DataParallel, Lightning modules, torch.compile, a `Task` of this project."""

_OF_A_TASK = "predictor.net."

_NET_ALONE = (
    "The net was trained as F = alpha (f - xi f_0), and this is f alone. F is diffstab.nets:CentredOutput, "
    "with the net and xi in its init_args."
)

_HASH_LENGTH = 16


class WeightsFile(NamedTuple):
    """A file of weights.

    Attributes:
        path: Where it is.
        state: Tensors by name.
        is_lightning: Whether Lightning wrote it.
        hyper_parameters: Those of a checkpoint of Lightning, else none.
    """

    path: Path
    state: dict[str, Tensor]
    is_lightning: bool
    hyper_parameters: dict[str, Any]


def read_weights(path: str | Path) -> WeightsFile:
    """Read a state dict, alone or in the file of a training (Lightning's too), on the CPU and without running code.

    Raises:
        DataError: If there is no such file, it is damaged, holds more than plain tensors, or no state dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError("There is no such file of weights", path, "Look at the name and the folder.")
    content = _safetensors(path) if path.suffix == ".safetensors" else _plain(path)
    if not isinstance(content, Mapping):
        way_out = "Save model.state_dict()."
        raise DataError(f"The file holds {type(content).__name__}, no state dict", path, way_out)
    state = _state(content)
    if state is None:
        names = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise DataError(f"The file holds no state dict, but {names}", path, "Save model.state_dict().")
    given = content.get("hyper_parameters")
    return WeightsFile(
        path, state, "pytorch-lightning_version" in content, dict(given) if isinstance(given, Mapping) else {}
    )


def put_weights(net: nn.Module, file: WeightsFile) -> list[str]:
    """Load the weights of a file into a net, all of them, none by guess.

    A prefix of a wrapper ("module.", "model.", ...) is taken off where all names of the net fit then. What a Lightning
    module has beside the net is left out.

    Returns:
        Sentences on what was taken off or left out.

    Raises:
        ArgumentError: If a name is missing or too many, or a shape is another one.
    """
    wanted = net.state_dict()
    fitting = {
        prefix: state for prefix in ("", *_PREFIXES) if (state := _without(file, prefix, wanted)) is not None
    }
    if not fitting:
        received = f"{file.path.name} ({_difference(file.state, wanted)})"
        way_out = "Is it the same net, with the same arguments (init_args)?"
        raise ArgumentError("weights", "be those of the model", received, way_out)
    prefix, state = next(iter(fitting.items()))
    net.load_state_dict(state, strict=False)
    notes = [f"{prefix!r} was taken off the names in {file.path.name}."] if prefix else []
    if prefix == _OF_A_TASK and file.hyper_parameters.get("xi"):
        notes.append(_NET_ALONE)
    left = _left_out(file, prefix, wanted)
    if left and prefix != _OF_A_TASK:
        notes.append(
            f"{file.path.name} holds more than the model: {', '.join(left[:3])}{', ...' * (len(left) > 3)}."
        )
    return notes


def weights_hash(state: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of names, types, shapes and values of a state dict.

    Args:
        state: Tensors by name, in any order; other entries are passed over.

    Raises:
        ArgumentError: A tensor has no values (of a lazy module, or on the device meta).
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, Tensor):
            if is_lazy(value) or value.is_meta:
                way_out = "Run it on a few images first, on a device."
                raise ArgumentError("model", "have its weights", f"{name!r} without any", way_out)
            tensor = value.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()[:_HASH_LENGTH]


def _left_out(file: WeightsFile, prefix: str, wanted: Mapping[str, Tensor]) -> list[str]:
    return sorted(
        name for name in file.state if not name.startswith(prefix) or name.removeprefix(prefix) not in wanted
    )


def _plain(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        damaged = not _is_archive(path)
        what = (
            "The file is damaged, or none of torch" if damaged else "The file holds more than plain tensors"
        )
        way_out = "Save model.state_dict(); a whole model in a file could run any code."
        raise DataError(what, path, way_out) from error
    # What torch raises for a file that is none depends on its first bytes.
    except Exception as error:
        if _is_script(path):
            raise DataError(
                "The file is TorchScript, no state dict", path, "Give it as the model."
            ) from error
        raise DataError("The file is damaged, or none of torch", path, "Save model.state_dict().") from error


def _is_archive(path: Path) -> bool:
    """Whether torch.save wrote the file, in today's format or that of before 2020."""
    return zipfile.is_zipfile(path) or path.read_bytes()[:2] == b"\x80\x02"


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _safetensors(path: Path) -> dict[str, Tensor]:
    require("safetensors", "to read .safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError("The file is damaged, or no safetensors", path, "Save it again.") from error
    return tensors


def _state(content: Mapping[str, Any]) -> dict[str, Tensor] | None:
    for part in (content, *(content.get(name) for name in _INNER)):
        if isinstance(part, Mapping) and part and all(isinstance(value, Tensor) for value in part.values()):
            return dict(part)
    return None


def _without(file: WeightsFile, prefix: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the weights whose names begin with a prefix, without it, if they are all that the net wants."""
    state = {
        name.removeprefix(prefix): value for name, value in file.state.items() if name.startswith(prefix)
    }
    few = len(state) < len(file.state) or not wanted.keys() >= state.keys()
    if _missing(state, wanted) or (few and not file.is_lightning):
        return None
    fits = all(state[name].shape == value.shape for name, value in wanted.items() if name in state)
    return {name: value for name, value in state.items() if name in wanted} if fits else None


def _missing(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    # Files of before 2018 have no counts of batches; nothing hangs on these.
    return sorted(name for name in wanted.keys() - state.keys() if not name.endswith("num_batches_tracked"))


def _difference(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    best = max(("", *_PREFIXES), key=lambda prefix: sum(prefix + name in given for name in wanted))
    state = {name.removeprefix(best): value for name, value in given.items()}
    missing, more = _missing(state, wanted), sorted(state.keys() - wanted.keys())
    others = [
        name for name in sorted(state.keys() & wanted.keys()) if state[name].shape != wanted[name].shape
    ]
    parts = []
    if others:
        name = others[0]
        parts.append(
            f"{name!r} has shape {tuple(state[name].shape)}, the model's has {tuple(wanted[name].shape)}"
        )
    if missing:
        parts.append(f"{len(missing)} of {len(wanted)} names missing, as {missing[0]!r}")
    if more:
        parts.append(f"{len(more)} that the model has not, as {more[0]!r}")
    return "; ".join(parts)
