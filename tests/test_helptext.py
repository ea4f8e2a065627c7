"""The kept help is what the commands would say themselves, and comes without their imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffstab import helptext
from diffstab.cli import main
from diffstab.helptext import FOLDER, stored_help
from tests.references.help_texts import KEPT

ROOT = Path(__file__).resolve().parents[1]
SHOW = """
import sys
from diffstab.cli import main

code = main([*sys.argv[1].split(), "--help"])
heavy = {"torch", "numpy", "pandas", "pytorch_lightning", "jsonargparse"} & sys.modules.keys()
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.mark.contract
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="argparse of another Python breaks lines elsewhere"
)
def test_the_kept_texts_are_those_that_the_commands_make(tmp_path):
    """After a change of options `make help-texts` writes them anew."""
    if any(stored_help(command) is None for command in KEPT):
        pytest.skip("the texts are of other versions of jsonargparse or Lightning")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.references.help_texts", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=200)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in FOLDER.iterdir()
    }


@pytest.mark.parametrize("command", ["compare", "fit", "sphere fit"])
def test_help_imports_nothing_heavy(command):
    if stored_help(command) is None:
        pytest.skip("the texts are of other versions of jsonargparse or Lightning")
    run = [sys.executable, "-c", SHOW, command]
    answer = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert f" {command.split()[-1]} [" in answer.stdout.partition("\n")[0]


def test_other_libraries_make_the_command_say_it_itself(monkeypatch, capsys):
    monkeypatch.setattr(helptext, "version", lambda name: "0.0.1")
    assert stored_help("compare") is None
    assert main(["forces", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: diffstab forces ")


def test_only_the_help_of_a_whole_command_is_kept():
    assert stored_help("report") is None
    assert stored_help("fit --model") is None
