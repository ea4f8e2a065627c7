"""Every file of configs/fit that needs real images trains in small, and tells at its head what to expect."""

from pathlib import Path

import pytest

from diffstab.cli import main

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]

FOLDER = Path(__file__).parents[2] / "configs" / "fit"
FILES = [
    path for path in sorted(FOLDER.glob("*.yaml")) if not path.stem.startswith(("digits", "fashion_wandb"))
]


@pytest.mark.data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_trains_in_small(path, place, data_root, monkeypatch, capsys):
    monkeypatch.setenv("DIFFSTAB_DATA", str(data_root))
    small = ["--data.init_args.n_train=20", "--data.init_args.n_test=12", "--data.init_args.batch_size=10"]
    if path.stem.startswith("cifar"):
        small[-1:] += ["--model.net.init_args.depth=8"]
    trainer = [
        "--trainer.max_epochs=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false",
    ]
    assert main(["fit", "--config", str(path), *small, *trainer]) == 0
    assert "val_error" in capsys.readouterr().out
    text = next((place / "results").rglob("config.yaml")).read_text()
    assert ("DeformationAugmentation" in text) == path.stem.endswith("augmented")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_its_head_says_how_long_it_takes_and_what_comes_out(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = " ".join(head)
    assert f"fit --config configs/fit/{path.name}" in text
    assert all(word in text for word in ("Time:", "Expected:", "test error"))
