"""The command lines and YAML files of the pages are taken by the commands: parsed as they stand, but not run."""

import argparse
import importlib
import re
import shlex

import pytest
import yaml

from diffstab.cli import commands, main
from diffstab.grid import command as grid_command
from diffstab.grid.plan import make_plan
from diffstab.grid.sweep_file import read_sweep
from diffstab.progress import Tally
from diffstab.report.claims.entries import read_claims
from diffstab.results.config_files import merged, read_config
from diffstab.shipped import CONFIGS, config_path
from diffstab.training import lightning
from tests.docs.pages import BLOCKS, ROOT, TEXTS, blocks, write_files

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

OTHERS = {
    *("apt-get", "dask", "export", "install", "jq", "openssl", "pip", "pytest", "runuser"),
    *("sinfo", "slurmctld", "slurmd", "source", "umask", "wandb"),
}
"""First words of commands that are not ours: these are not tried."""
FRONT = {"diffstab", "diffstab sphere", "diffstab run"}
"""Parsers of a command's name, behind which the command's own comes."""


def lines(block):
    """The commands of a block as lists of words, without comments."""
    text = re.sub(r" > \S+", "", block.code.replace("\\\n", " "))
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((place for place, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
            yield words[:end]
            words = words[end + 1 :]


def ours(block):
    """The arguments of each command of ours in a block."""
    for words in lines(block):
        if words[:3] == ["python", "-m", "diffstab"]:
            yield words[3:]
        elif words[0] == "diffstab":
            yield words[1:]
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        else:
            assert words[0] in OTHERS or re.match(r"\w+=", words[0]), words


LINES = [
    pytest.param(block.page, args, id=f"{block.page}: {' '.join(args)}"[:90])
    for block in blocks("sh")
    for args in ours(block)
] + [
    pytest.param("README.md", shlex.split(line), id=f"README.md: {line}"[:90])
    for line in re.findall(r"\| `diffstab ([^`]+)` \|", TEXTS["README.md"])
    if "..." not in line and "package.module" not in line
]


@pytest.fixture
def parsed_only(monkeypatch):
    """Let each command parse its arguments, and end it there."""
    parse, run_lightning = argparse.ArgumentParser.parse_args, lightning.run_lightning

    def stop(parser, *args):
        found = parse(parser, *args)
        if parser.prog not in FRONT:
            raise SystemExit(0)
        return found

    # Imported for the first time by a command, it would keep the stand-in of `run_lightning` for all later tests.
    importlib.import_module("diffstab.experiments.fit")
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(grid_command, "run_plan", lambda plan, folder, **options: Tally(1, done=1))
    monkeypatch.setattr(
        lightning,
        "run_lightning",
        lambda args, **options: run_lightning([*args, "--print_config"], **options),
    )


@pytest.mark.parametrize(("page", "args"), LINES)
def test_a_command_line_is_taken(page, args, page_place, parsed_only, capsys):
    write_files(page, page_place)
    for word in args:
        if re.fullmatch(r"[\w/-]+\.yaml", word) and word != "profile.yaml":
            assert (page_place / word).is_file() or config_path(word)
    assert main(args) == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_a_file_is_read(block, page_place):
    write_files(block.page, page_place)
    content = yaml.safe_load(block.code)
    assert isinstance(content, dict | list)
    if parent := isinstance(content, dict) and content.pop("include", None):
        assert merged(read_config(CONFIGS / parent), content)
    if block.file and "method" in content:
        assert make_plan(read_sweep(block.file)).batches
    if block.file and "claims" in content:
        assert read_claims(page_place / "claims")


def test_the_list_of_commands_is_complete():
    listed = set(
        re.findall(r"`([\w -]+)`", re.sub(r"(?m)^\| ([^|]*) \|.*$", r"\1", TEXTS["docs/commands.md"]))
    )
    names = {*commands(), *(f"sphere {name}" for name in commands("sphere"))} - {"sphere"}
    assert names - listed <= {"sphere validate", "sphere test", "sphere predict"}


def test_each_module_that_a_page_shows_is_used_there():
    for block in BLOCKS:
        others = "".join(other.code for other in BLOCKS if other.page == block.page and other is not block)
        if block.file.endswith(".py"):
            assert re.search(rf"\b{block.file.removesuffix('.py')}\b", others), block
