"""What a training under Lightning shows."""

import logging
import threading
import warnings

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from diffstab.cli import main
from diffstab.training.terminal import EpochProgress, results_text, show_progress, without_remarks


class Told(BoringModel):
    """Logs a small number; fails at a step if asked to."""

    def __init__(self, failing_step=None):
        super().__init__()
        self.failing_step = failing_step

    def training_step(self, batch, batch_idx):
        if self.global_step == self.failing_step:
            raise RuntimeError("out of data")
        self.log("train_objective", 0.00012344, prog_bar=True)
        return super().training_step(batch, batch_idx)


def trainer(place, **options):
    common = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "limit_val_batches": 2,
    }
    with without_remarks():
        made = Trainer(accelerator="cpu", default_root_dir=place, limit_train_batches=3, **common, **options)
    show_progress(made, options.get("callbacks", []))
    return made


def quiet():
    return not any("_break_silences" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("options", "total"), [({"max_epochs": 2}, 6), ({"max_steps": 4, "max_epochs": -1}, 4)]
)
def test_a_training_ends_with_its_count_and_its_numbers(place, capsys, options, total):
    with without_remarks():
        trainer(place, **options).fit(Told())
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{total} of {total}: epoch ")
    assert "train_objective 0.0001234" in last
    assert "left" not in last
    assert quiet()


def test_a_training_that_fails_lets_go_of_the_terminal(place, capsys):
    with without_remarks(), pytest.raises(RuntimeError, match="out of data"):
        trainer(place, max_epochs=2).fit(Told(failing_step=2))
    assert "6 of 6" not in capsys.readouterr().err
    assert quiet()


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_an_evaluation_counts_its_batches(place, stage, monkeypatch):
    bar = trainer(place, limit_test_batches=2, limit_predict_batches=2)
    with without_remarks():
        getattr(bar, stage)(Told(), **({} if stage == "predict" else {"verbose": False}))
    (shown,) = [one for one in bar.callbacks if isinstance(one, EpochProgress)]
    assert (shown._tally.done, shown._tally.total) == (2, 2)


def test_a_bar_that_was_asked_for_or_switched_off_stays_so(place):
    asked = RichProgressBar(leave=True)
    assert trainer(place, enable_progress_bar=False).progress_bar_callback is None
    assert isinstance(trainer(place).progress_bar_callback, EpochProgress)
    assert trainer(place, callbacks=[asked]).progress_bar_callback is asked


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
@pytest.mark.parametrize("own", [False, True])
def test_the_command_shows_our_bar_unless_its_configuration_names_one(place, capsys, own):
    options = ["--trainer.max_epochs=2", "--trainer.enable_model_summary=false", "--data=datamodules.Digits"]
    options += ["--model.net=diffstab.nets.FCN", "--model.net.in_features=784", "--model.net.hidden=[10]"]
    options += ["--trainer.callbacks=RichProgressBar"] if own else []
    assert main(["fit", *options, "--data.n_train=50"]) == 0
    shown = capsys.readouterr()
    assert ("2 of 2: epoch 2" in shown.err) != own
    assert ("Epoch 1/1" in shown.out) == own
    assert "val_error" in shown.out


def test_advertisements_go_and_what_is_about_the_run_stays(caplog):
    lines = ["💡 Tip: try installing [litlogger]", "GPU available: False, used: False", "Using bfloat16 AMP"]
    with caplog.at_level(logging.INFO), without_remarks():
        for line in lines:
            rank_zero_info(line)
    assert caplog.messages == lines[2:]
    with caplog.at_level(logging.INFO):
        rank_zero_info(lines[0])
    assert caplog.messages[-1] == lines[0]


def test_only_warnings_that_nobody_can_act_on_are_left_out():
    with without_remarks():
        warnings.warn(
            "The 'train_dataloader' does not have many workers which may be a bottleneck", stacklevel=1
        )
        with pytest.warns(UserWarning, match="folds"):
            warnings.warn("the field folds", stacklevel=1)


def test_results_are_aligned_with_four_digits():
    results = [{"val_error": 0.0519263, "D": 2.0}, {"val_error/1": float(torch.tensor(1e-5))}]
    assert results_text(results) == "val_error    0.05193\nD            2\nval_error/1  1e-05"
