"""Imports go downwards only, and no file is named after nothing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "diffstab").rglob("*.py"), *(ROOT / "datamodules").rglob("*.py")])

LEVELS = [
    {"errors", "lazy"},
    {"completion", "extras", "helptext", "image_files", "progress", "shipped"},
    {"streams"},
    {"results"},
    {"diffeo", "nets", "tasks"},
    {"kernels"},
    {"stability", "sparsity", "sphere", "l2"},
    {"solvers"},
    {"training"},
    {"measuring"},
    {"experiments"},
    {"grid"},
    {"report"},
    {"tracking"},
    {"paper"},
    {"zoo"},
    {"demo", "measure_command", "zoo_command"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
DATA_USERS = {"cli", "demo"}


def imported_modules(source, package):
    """Dotted names of all modules that a source imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from diffstab import cli` names a module in what it imports.
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def violations(source, path):
    """Imports of a file, given by its path from the root, that do not go downwards."""
    path = Path(path)
    package, room, *_ = [*path.with_suffix("").parts, "__init__"]
    names = imported_modules(source, ".".join(path.parts[:-1]))
    return [name for name in names if not is_allowed(name, package, room)]


def is_allowed(name, package, room):
    """Whether a room of a package may import the module of that name."""
    top, inner, *_ = [*name.split("."), "__init__"]
    if top == "datamodules":
        return package == "datamodules" or room in DATA_USERS
    if top != "diffstab" or inner not in LEVEL:
        return True
    if package == "datamodules":
        return inner in {"errors", "image_files", "streams", "sphere", "l2", "tasks"}
    return inner == room or LEVEL[inner] < LEVEL.get(room, 0)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path):
    assert violations(path.read_text(), path.relative_to(ROOT)) == []


def test_every_room_has_a_level():
    rooms = {path.relative_to(ROOT).with_suffix("").parts[1] for path in SOURCES if "diffstab" in path.parts}
    assert rooms - {"__init__"} <= LEVEL.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_named_after_what_they_hold(path):
    assert not {"utils", "common", "helpers", "misc"} & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("diffstab/diffeo/warp.py", "from diffstab.stability import stability"),
        ("diffstab/stability/measures.py", "import diffstab.sparsity.atoms"),
        ("diffstab/report/page.py", "def f():\n    from diffstab.paper import stages"),
        ("diffstab/results/records.py", "from diffstab import cli"),
        ("diffstab/nets/fcn.py", "from ..training.flow import GradientFlow"),
        ("diffstab/nets/fcn.py", "from .. import cli"),
        ("diffstab/__init__.py", "from diffstab import nets"),
        ("diffstab/training/task.py", "import datamodules"),
        ("datamodules/base.py", "from diffstab.nets import FCN"),
    ],
)
def test_the_check_sees_what_goes_upwards(path, source):
    assert len(violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "diffstab/stability/measures.py",
            "from diffstab.errors import ArgumentError\nimport diffstab.diffeo",
        ),
        (
            "diffstab/diffeo/sampler.py",
            "from diffstab.diffeo.warp import warp\nfrom .field import draw_field",
        ),
        ("diffstab/cli.py", "from datamodules import Digits\nfrom diffstab import __version__, demo"),
        (
            "datamodules/base.py",
            "from diffstab.errors import DataError\nfrom datamodules.splits import Split",
        ),
        ("datamodules/toys.py", "from diffstab.l2.completely_positive import bipartite_gram"),
    ],
)
def test_the_check_lets_pass_what_goes_downwards(path, source):
    assert violations(source, path) == []
