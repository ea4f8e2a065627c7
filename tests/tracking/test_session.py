"""When W&B goes offline, and what it is told."""

import os
from pathlib import Path

import pytest

from diffstab.errors import ArgumentError
from diffstab.tracking.session import check_project, choose_mode, harmless, tell_once


@pytest.fixture(autouse=True)
def _no_settings(quiet_place):
    return quiet_place


def test_offline_with_one_line_when_there_is_neither_mode_nor_key(caplog):
    assert choose_mode() == choose_mode() == "offline"
    assert len(caplog.messages) == 1
    assert "WANDB_MODE" not in os.environ


@pytest.mark.parametrize(
    ("name", "value", "mode"),
    [
        ("WANDB_MODE", "disabled", "disabled"),
        ("WANDB_MODE", "dryrun", "offline"),
        ("WANDB_API_KEY", "0" * 40, "online"),
        ("WANDB_IDENTITY_TOKEN_FILE", "token", "online"),
    ],
)
def test_a_mode_or_a_key_is_respected(monkeypatch, caplog, name, value, mode):
    monkeypatch.setenv(name, value)
    assert choose_mode() == mode
    assert caplog.messages == []


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with pytest.raises(ArgumentError, match="WANDB_MODE must be one of online, run, offline"):
        choose_mode()


@pytest.mark.parametrize(
    ("text", "url", "mode"),
    [
        ("machine api.wandb.ai login user password made-up", None, "online"),
        ("machine example.org login user password made-up", None, "offline"),
        ("machine wandb.example.org login user password made-up", "https://wandb.example.org", "online"),
        ("machine", None, "offline"),
    ],
)
def test_a_stored_key_of_the_server_is_respected(quiet_place, monkeypatch, text, url, mode):
    path = Path.home() / ".netrc"
    path.write_text(text + "\n")
    path.chmod(0o600)
    if url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
    assert choose_mode() == mode


@pytest.mark.parametrize("project", ["", " ", "a/b", "..\\x", "x" * 129, "a\nb", "50%"])
def test_a_project_of_no_name_is_refused(project):
    with pytest.raises(ArgumentError, match="wandb must have 1 to 128 characters"):
        check_project(project)


def test_names_lose_what_html_or_a_path_would_take_for_more():
    found = harmless("<b>x</b>/../y [a](javascript:b) \n`c`" + "n=64 " * 60)
    assert not set("<>/\\`\n\"'&") & set(found)
    assert len(found) == 128
    assert harmless("n=64 seed=0 feature") == "n=64 seed=0 feature"
    assert harmless("") == "_"


def test_a_failure_is_told_once(caplog):
    for _ in range(3):
        tell_once("project", OSError("disk full"), "the run is incomplete")
    assert caplog.messages == [
        "W&B failed (OSError: disk full); the run is incomplete. Records are not touched by it."
    ]
