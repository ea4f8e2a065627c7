"""When a W&B run goes offline."""

import os
from types import SimpleNamespace

import pytest

from diffstab.training.wandb_logging import offline_without_key, wants_wandb


@pytest.fixture(autouse=True)
def _no_settings(tmp_path, monkeypatch):
    # Set first, so that whatever the test leaves behind is taken back.
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_offline_with_one_line_when_there_is_neither_mode_nor_key(capsys):
    assert offline_without_key()
    assert os.environ["WANDB_MODE"] == "offline"
    assert not offline_without_key()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "disabled"), ("WANDB_API_KEY", "0" * 40)])
def test_a_mode_or_a_key_is_respected(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    assert not offline_without_key()
    assert os.environ.get("WANDB_MODE", value) == value
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "url", "offline"),
    [
        ("machine api.wandb.ai login user password made-up", None, False),
        ("machine example.org login user password made-up", None, True),
        ("machine wandb.example.org login user password made-up", "https://wandb.example.org", False),
        ("machine", None, True),
    ],
)
def test_a_stored_key_of_the_server_is_respected(tmp_path, monkeypatch, text, url, offline):
    path = tmp_path / ".netrc"
    path.write_text(text + "\n")
    path.chmod(0o600)
    if url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
    assert offline_without_key() is offline


def test_which_loggers_want_wandb():
    def entry(name, **options):
        return SimpleNamespace(class_path=f"pytorch_lightning.loggers.{name}", init_args=options)

    assert wants_wandb(entry("WandbLogger"))
    assert wants_wandb([entry("CSVLogger"), entry("WandbLogger")])
    assert not wants_wandb(entry("WandbLogger", offline=True))
    for other in (None, True, False, [], entry("CSVLogger")):
        assert not wants_wandb(other)
