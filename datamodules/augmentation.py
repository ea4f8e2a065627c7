"""What changes training images, described in a configuration."""

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from diffstab.errors import ArgumentError


def made_augmentation(choice: nn.Module | Mapping[str, Any] | None) -> nn.Module | None:
    """Return an augmentation as it is, or make the one that class_path and init_args describe.

    Raises:
        ArgumentError: If the description names no module, or arguments that it does not take.
    """
    if choice is None or isinstance(choice, nn.Module):
        return choice
    if (
        not isinstance(choice, Mapping)
        or "class_path" not in choice
        or choice.keys() - {"class_path", "init_args"}
    ):
        condition = "have the keys class_path and, optionally, init_args"
        raise ArgumentError("augmentation", condition, repr(choice))
    module, _, name = str(choice["class_path"]).rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)(**(choice.get("init_args") or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise ArgumentError("augmentation", "be made of what it describes", f"{choice} ({error})") from error
    if not isinstance(made, nn.Module):
        raise ArgumentError("augmentation", "be a module", type(made).__name__)
    return made
