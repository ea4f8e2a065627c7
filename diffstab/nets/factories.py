"""Models that Python code makes: a class or factory by its name, torchvision, timm."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from diffstab.errors import ArgumentError, DataError, DiffstabError
from diffstab.extras import require
from diffstab.nets.initial import initial_weights
from diffstab.nets.preprocessing import Preprocessing, timm_preprocessing, torchvision_preprocessing


class BuiltModel(NamedTuple):
    """A model as its code makes it.

    Attributes:
        module: It, with the named weights of its library or those of initialisation.
        preprocessing: That of the named weights, or none.
    """

    module: Any
    preprocessing: Preprocessing = Preprocessing()


def factory_at(path: str, *, argument: str = "model") -> Any:
    """Return what package.module:name names; modules are looked for in the working directory too.

    Args:
        path: What is named.
        argument: What it is given as, for errors.

    Raises:
        ArgumentError: If it cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        with _here_on_path():
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
    except DiffstabError:
        raise
    except AttributeError as error:
        near = difflib.get_close_matches(name, dir(importlib.import_module(module)), n=3)
        way_out = f"Near it: {', '.join(near)}." if near else ""
        raise ArgumentError(argument, f"name something in {module}", repr(name), way_out) from error
    # An import runs the user's code, which may fail in any way.
    except Exception as error:
        received = f"{path} ({type(error).__name__}: {error})"
        raise ArgumentError(argument, "be importable as package.module:name", received) from error
    return found


def build(path: str, init_args: Mapping[str, Any], *, seed: int = 0, fresh: bool = False) -> BuiltModel:
    """Make the model of package.module:name: an instance of a class, what a factory returns, or a model as it is.

    Args:
        path: What is made.
        init_args: Its arguments; mappings of class_path and init_args are made first, a dtype is a name.
        seed: Of the initial weights.
        fresh: Whether it must have initial weights.

    Raises:
        ArgumentError: If it cannot be imported or made, needs other arguments, or is no model.
    """
    factory = factory_at(path)
    if isinstance(factory, nn.Module):
        if init_args:
            raise ArgumentError("init_args", f"be left out: {path} is a model already", dict(init_args))
        if fresh:
            raise ArgumentError(
                "untrained", f"be left out: {path} is a model already, with its weights", fresh
            )
        return BuiltModel(factory)
    if not callable(factory):
        raise ArgumentError(
            "model", "name a class or a factory of a model", f"{path}, {type(factory).__name__}"
        )
    check_arguments(factory, init_args, path)
    with initial_weights(seed):
        module = _made(factory, {name: _built(name, value, seed) for name, value in init_args.items()}, path)
    if not callable(module):
        raise ArgumentError("model", "be made by what it names", f"{type(module).__name__} from {path}")
    return BuiltModel(module)


def check_arguments(factory: Callable[..., Any], init_args: Mapping[str, Any], path: str) -> None:
    """Raise an ArgumentError unless a factory takes these arguments by name, and needs no others."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # of C, say
        return
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    named = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    unknown = [name for name in init_args if name not in named]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = ", ".join(named) or "no argument"
        raise ArgumentError("init_args", f"be among those of {path}: {known}", ", ".join(unknown))
    missing = [
        p.name for p in parameters if p.name in named and p.default is p.empty and p.name not in init_args
    ]
    if missing:
        way_out = f"Give them: --init_args '{{{missing[0]}: ...}}'."
        raise ArgumentError(
            "init_args", f"hold {', '.join(missing)} for {path}", dict(init_args) or "none", way_out
        )


def torchvision_model(
    name: str, init_args: Mapping[str, Any], *, weights: str | None, untrained: bool, seed: int
) -> BuiltModel:
    """Make a model of torchvision, with the transforms of its weights.

    Args:
        name: As `torchvision.models.list_models()` has it.
        init_args: Arguments of its factory.
        weights: Name of weights, as IMAGENET1K_V1 or DEFAULT; None is none.
        untrained: Whether only the transforms of the weights are taken.
        seed: Of the initial weights.

    Raises:
        ArgumentError: If there is no such model, or it has no such weights.
        DataError: If the weights cannot be downloaded.
    """
    from torchvision import models

    _check_listed(name, models.list_models(), "torchvision")
    chosen = None
    if weights is not None:
        known = models.get_model_weights(name)
        if weights not in known.__members__:
            names = ", ".join(["DEFAULT", *(one.name for one in known)]) if len(known) else "(none)"
            raise ArgumentError(
                "weights", f"be a file or, for torchvision:{name}, one of {names}", repr(weights)
            )
        chosen = known[weights]

    def make(**options: Any) -> Any:
        # Else a net for segmentation or detection downloads weights of its body, unasked.
        if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
            options = {"weights_backbone": None, **options}
        return models.get_model(name, weights=None if untrained else chosen, **options)

    with initial_weights(seed), warnings.catch_warnings():
        # Of init_weights of the older nets.
        warnings.filterwarnings("ignore", category=FutureWarning, module="torchvision")
        module = _made(make, init_args, f"torchvision:{name}")
    return BuiltModel(module, torchvision_preprocessing(chosen.transforms()) if chosen else Preprocessing())


def timm_model(
    name: str, init_args: Mapping[str, Any], *, weights: str | None, untrained: bool, seed: int
) -> BuiltModel:
    """Make a model of timm, with the data configuration of its weights; see `torchvision_model`.

    Weights are part of a model's name there (resnet18.a1_in1k): their name here is DEFAULT.
    """
    require("timm", f"for timm:{name}")
    import timm

    _check_listed(name.partition(".")[0], timm.list_models(), "timm")
    if weights not in (None, "DEFAULT"):
        way_out = "Other weights of timm have a name of the model, as resnet18.a1_in1k."
        raise ArgumentError("weights", "be a file or DEFAULT for timm", repr(weights), way_out)

    def make(**options: Any) -> Any:
        return timm.create_model(name, pretrained=weights is not None and not untrained, **options)

    with initial_weights(seed):
        module = _made(make, init_args, f"timm:{name}")
    found = timm.data.resolve_model_data_config(module) if weights else None
    return BuiltModel(module, timm_preprocessing(found) if found else Preprocessing())


def _made(factory: Callable[..., Any], options: Mapping[str, Any], path: str) -> Any:
    try:
        with _here_on_path():
            return factory(**options)
    except DiffstabError:
        raise
    except OSError as error:  # of urllib, huggingface_hub and files
        where = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} cannot be had here", where, "Download its weights elsewhere, and give the file."
        ) from error
    # The user's code may fail in any way.
    except Exception as error:
        raise ArgumentError(
            "model", "be made with these arguments", f"{type(error).__name__}: {error}"
        ) from error


def _built(name: str, value: Any, seed: int) -> Any:
    """Make what is described by class_path and init_args, and the type that a dtype names."""
    if name == "dtype" and isinstance(value, str):
        return getattr(torch, value.removeprefix("torch."), value)
    if (
        not isinstance(value, Mapping)
        or "class_path" not in value
        or value.keys() - {"class_path", "init_args"}
    ):
        return value
    module, _, inner = str(value["class_path"]).rpartition(".")
    return build(f"{module}:{inner}", value.get("init_args") or {}, seed=seed).module


def _check_listed(name: str, known: list[str], library: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5)
        way_out = f"Near it: {', '.join(near)}." if near else f"See {library}'s list_models()."
        raise ArgumentError("model", f"be one of {library}'s", repr(name), way_out)


@contextmanager
def _here_on_path() -> Iterator[None]:
    """Find modules in the working directory, as `python -m` does and an installed command does not."""
    here = str(Path.cwd())
    known = here in sys.path or "" in sys.path
    if not known:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if not known and here in sys.path:
            sys.path.remove(here)
