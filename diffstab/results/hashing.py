"""One short name for a configuration, the same on every machine and in every order of its keys."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from diffstab.errors import ArgumentError

HASH_LENGTH = 16
"""Hexadecimal digits of a hash: 64 bits, so a collision among a million runs has odds of 1 in 10^7."""


def config_hash(config: Mapping[str, object]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the configuration's canonical JSON.

    Canonical: keys sorted, no spaces, tuples as lists, and a float without a fraction as an integer, so that
    `1`, `1.0` and `1e0` in a YAML file name the same run.

    Args:
        config: Nested mappings, lists and tuples of strings, numbers, booleans and None.

    Raises:
        ArgumentError: If a key is no string or a value is of another type.
    """
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()[:HASH_LENGTH]


def canonical_json(value: object) -> str:
    """Return the one JSON text of a plain value; see `config_hash`.

    Raises:
        ArgumentError: If a key is no string or a value is not plain.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def plain(value: object, path: str = "config") -> object:
    """Return a copy of the value made of dict, list, str, int, float, bool and None only, 1.0 becoming 1.

    Args:
        value: The value to copy.
        path: Its dotted name, for the error message.

    Raises:
        ArgumentError: If a key is no string or a value is not plain.
    """
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentError(path, "have strings as keys", repr(key))
        return {key: plain(part, f"{path}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, f"{path}.{index}") for index, part in enumerate(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return value
    way_out = "Convert it first: str(path), value.item() or tensor.tolist()."
    raise ArgumentError(
        path, "be a string, number, boolean, None, list or mapping", type(value).__name__, way_out
    )


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the leaves of a nested mapping under dotted keys, which are also the command line's flags.

    Lists, and empty mappings, are leaves.

    Args:
        config: Nested mapping with string keys.
        prefix: Dotted name of the mapping itself.
    """
    return dict(_leaves(config, prefix))


def _leaves(config: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, name)
        else:
            yield name, value
