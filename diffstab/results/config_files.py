"""Configuration files that are variants of another: `include: parent.yaml`, and below it what differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffstab.errors import ArgumentError
from diffstab.results.yaml_text import parse_yaml
from diffstab.shipped import config_path

INCLUDE = "include"
"""Key that names the parent of a configuration file."""


def read_config(path: str | Path) -> Any:
    """Return the content of a YAML file, laid over that of the file that it includes.

    A file may begin with `include: ../experiment/mnist_small.yaml`: a path seen from the file's own folder, or else
    one below the configurations that come with diffstab. The parent may include another file. Mappings are merged
    key by key, but one with another `class_path` replaces the parent's. Lists and other values replace the
    parent's, and `null` removes a key that the parent sets.

    Args:
        path: The file.

    Raises:
        ArgumentError: If the parent is missing, is no mapping, or is included by itself.
        OSError: If the file cannot be read.
        yaml.YAMLError: If it or a parent is no YAML.
    """
    return _read(Path(path), ())


def _read(path: Path, children: tuple[Path, ...]) -> Any:
    content = parse_yaml(path.read_bytes(), name=path)
    if not isinstance(content, dict) or INCLUDE not in content:
        return content
    name = content.pop(INCLUDE)
    if not isinstance(name, str):
        raise ArgumentError(f"{INCLUDE} in {path}", "be the path of one file", repr(name))
    parent, chain = _parent(path, name), (*children, path)
    if parent.resolve() in {child.resolve() for child in chain}:
        loop = " -> ".join(map(str, (*chain, parent)))
        raise ArgumentError(f"{INCLUDE} in {path}", "lead to no file twice", loop)
    inherited = _read(parent, chain)
    if not isinstance(inherited, dict):
        raise ArgumentError(f"{INCLUDE} in {path}", "name a file of options by name", str(parent))
    return merged(inherited, content)


def _parent(path: Path, name: str) -> Path:
    beside = path.parent / name
    if beside.is_file():
        return beside
    try:
        return config_path(name)
    except ArgumentError as error:
        way_out = "The path is seen from the file's own folder."
        raise ArgumentError(f"{INCLUDE} in {path}", "name a file", f"{name}: no {beside}", way_out) from error


def merged(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping laid over another; see `read_config`."""
    result = dict(parent)
    for key, value in child.items():
        before = parent.get(key)
        if value is None and key in parent:
            del result[key]
        elif _are_merged(before, value):
            result[key] = merged(before, value)  # type: ignore[arg-type]
        else:
            result[key] = value
    return result


def _are_merged(before: Any, value: Any) -> bool:
    both = isinstance(before, dict) and isinstance(value, dict)
    # Options of another class are none of this one's.
    return both and value.get("class_path", before.get("class_path")) == before.get("class_path")
