"""Classes that a configuration names by class_path and init_args."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
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
    cls, options = described_class(choice, argument="data", given=("n_train", "seed"))
    data = cls(**options, n_train=n_train, seed=seed)
    data.prepare_data()
    data.setup()
    return data


def described_class(
    choice: Mapping[str, Any], *, argument: str, given: Sequence[str] = ()
) -> tuple[type, dict[str, Any]]:
    """Return a class and its arguments as a configuration describes them.

    Args:
        choice: "class_path" and, optionally, "init_args".
        argument: What the description is called in messages.
        given: Arguments of the class that the experiment sets.

    Raises:
        ArgumentError: If there are other keys, or the class does not exist or does not take an argument.
    """
    unknown = sorted(set(choice) - {"class_path", "init_args"})
    if unknown or "class_path" not in choice:
        raise ArgumentError(argument, "have the keys class_path and, optionally, init_args", sorted(choice))
    cls = class_at(choice["class_path"], argument=f"{argument}.class_path")
    options = dict(choice.get("init_args") or {})
    free = sorted(_options(cls) - set(given))
    unknown = sorted(set(options) - set(free))
    if unknown:
        way_out = f"{' and '.join(given)} are set by the experiment." if given else ""
        condition = f"be among {', '.join(free)}"
        raise ArgumentError(f"{argument}.init_args", condition, ", ".join(unknown), way_out)
    return cls, options


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
