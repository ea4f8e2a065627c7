"""Classes that a configuration names by class_path and init_args."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from diffstab.errors import ArgumentError


def build_data(choice: dict[str, Any], *, n_train: int, seed: int) -> Any:
    """Return the data module of one draw of the training set, its data loaded.

    Args:
        choice: "class_path" of a data module with image tensors and, optionally, its "init_args".
        n_train: Size of the training set.
        seed: Seed of the draw.

    Raises:
        ArgumentError: If the class does not exist or does not take an argument.
        DataError: If the data are missing or damaged.
    """
    unknown = sorted(set(choice) - {"class_path", "init_args"})
    if unknown or "class_path" not in choice:
        raise ArgumentError("data", "have the keys class_path and, optionally, init_args", sorted(choice))
    cls = class_at(choice["class_path"], argument="data.class_path")
    options = choice.get("init_args") or {}
    free = sorted(_options(cls) - {"n_train", "seed"})
    unknown = sorted(set(options) - set(free))
    if unknown:
        way_out = "n_train and seed are set by n_train and seeds of the experiment."
        raise ArgumentError("data.init_args", f"be among {', '.join(free)}", ", ".join(unknown), way_out)
    data = cls(**options, n_train=n_train, seed=seed)
    data.prepare_data()
    data.setup()
    return data


def class_at(path: object, *, argument: str) -> type:
    """Return the class of a dotted path, or raise ArgumentError in the name of `argument`."""
    module, _, name = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(argument, "name an importable class", repr(path)) from error
    if not isinstance(found, type):
        raise ArgumentError(argument, "name an importable class", repr(path))
    return found


def _options(cls: type) -> set[str]:
    """Return the named arguments that a class and, through its **kwargs, its bases take."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names |= {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return names - {"self"}
