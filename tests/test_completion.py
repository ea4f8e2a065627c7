"""The completion script, read by a bash and asked as that asks it."""

import shutil
import subprocess

import pytest

from diffstab.cli import commands, main
from diffstab.completion import SHELLS

pytest.importorskip("shtab")
pytestmark = [
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]

OPTIONS = {
    "compare --n_t": "--n_train",
    "sphere curve --targ": "--targets",
    "fit --model.optimiser.stop.max": "--model.optimiser.stop.max_steps",
    "validate --ckpt": "--ckpt_path",
    "sweep --retry": "--retry-failed",
    "report --j": "--json",
    "layers --wei": "--weights",
}
"""Begun commands, and an option that they may go on with."""

ASK = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_shtab_diffstab diffstab "${COMP_WORDS[$COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Ask a bash that has read the script what the last word may become."""
    folder = tmp_path_factory.mktemp("completion")
    path, capture = folder / "diffstab.bash", pytest.MonkeyPatch()
    lines = []
    capture.setattr("builtins.print", lambda text: lines.append(text))
    assert main(["completion", "bash"]) == 0
    capture.undo()
    path.write_text("\n".join(lines))
    (folder / "results").mkdir()

    def asked(*words):
        call = ["bash", "--norc", "-c", ASK, "ask", str(path), "diffstab", *words]
        answer = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
        return set(answer.stdout.split())

    return asked


def test_all_commands_are_completed(ask):
    assert commands().keys() <= ask("")
    assert commands("sphere").keys() <= ask("sphere", "")
    assert ask("comp") == {"compare", "completion"}


@pytest.mark.parametrize(("typed", "option"), OPTIONS.items())
def test_options_are_those_that_the_command_takes(typed, option, ask):
    assert option in ask(*typed.split())


def test_values_are_completed(ask):
    assert ask("completion", "") >= set(SHELLS)
    assert ask("report", "res") == {"results"}
    assert ask("compare", "--config", "res") == {"results"}


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "powershell"]) == 2
    assert "invalid choice: 'powershell'" in capsys.readouterr().err
