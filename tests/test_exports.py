"""Every public name can be imported, is listed by `dir`, and is known to type checkers; no other is."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [
    ".".join(path.parent.relative_to(ROOT).parts)
    for top in ("diffstab", "datamodules")
    for path in sorted((ROOT / top).rglob("__init__.py"))
    if "__all__" in path.read_text()
]
LAZY = ["diffstab.kernels", "diffstab.l2", "diffstab.sphere", "diffstab.stability"]


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_there_and_listed(name):
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    assert len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        assert getattr(package, public) is not None
    with pytest.raises(AttributeError, match="has no attribute 'no_such_thing'"):
        _ = package.no_such_thing


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_the_names_that_there_are(name):
    """The imports of a package, for type checkers too, bind what `__all__` lists, each from its module."""
    package = importlib.import_module(name)
    nodes = ast.walk(ast.parse(Path(package.__file__).read_text()))
    seen = {
        alias.asname or alias.name: node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(package.__all__) <= seen.keys()
    for public in package.__all__:
        assert getattr(importlib.import_module(seen[public]), public) is getattr(package, public)


@pytest.mark.parametrize("name", LAZY)
def test_what_is_lazy_is_not_imported_early(name):
    script = f"import sys, {name}; sys.exit(bool({{'torchmetrics', 'sklearn', 'scipy.stats'}} & sys.modules.keys()))"
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode == 0


@pytest.mark.contract
def test_mypy_refuses_a_name_that_is_not_there(tmp_path):
    wrong = [f"from {name} import no_such_thing" for name in PACKAGES]
    right = [
        f"from {name} import {importlib.import_module(name).__all__[0]} as a{number}"
        for number, name in enumerate(LAZY)
    ]
    kinds = ["reveal_type(a2)"]
    source = tmp_path / "user.py"
    source.write_text("\n".join([*wrong, *right, *kinds]))
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(source)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    refused = [line for line in answer.stdout.splitlines() if 'has no attribute "no_such_thing"' in line]
    assert len(refused) == len(wrong), answer.stdout
    errors = [line for line in answer.stdout.splitlines() if "error:" in line]
    assert errors == refused, answer.stdout
    assert "Any" not in next(line for line in answer.stdout.splitlines() if "Revealed type" in line)
