"""Public names of a package that are imported when first asked for, and listed from the start."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package.

    Type checkers do not see what they return: the package imports the same names under `TYPE_CHECKING`.

    Args:
        package: Name of the package.
        exports: Public names, each with the module of the package that defines it.
    """

    def get(name: str) -> object:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(f"{package}.{exports[name]}"), name)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *exports})

    return get, names
