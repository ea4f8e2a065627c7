"""The README and the conventions page tell the truth."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONVENTIONS = (ROOT / "docs" / "conventions.md").read_text()


@pytest.mark.filterwarnings("default::UserWarning")
def test_the_python_of_the_readme_runs(capsys):
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(block, space)
    printed = capsys.readouterr().out
    assert "reason='margin'" in printed
    assert re.search(r"R = [\d.]+ \[[\d.]+, [\d.]+\]", printed)
    assert (space["again"] == space["deformed"]).all()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"configs/[\w/]+\.yaml", README))))
def test_the_configs_of_the_readme_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", CONVENTIONS))))
def test_every_convention_names_a_test_that_exists(name):
    path, test = name.split("::")
    assert f"def {test}(" in (ROOT / path).read_text()
