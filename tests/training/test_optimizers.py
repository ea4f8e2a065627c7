"""Optimisers and schedules of torch on the command line, as Lightning's users know them."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from diffstab.cli import main

CONFIG = str(Path(__file__).parents[2] / "configs" / "fit" / "digits_adam.yaml")
SHORT = ["--model.net.init_args.hidden=[10]", "--data.init_args.n_test=50", "--data.init_args.n_train=300"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
]

SGD = """
optimizer:
  class_path: torch.optim.SGD
  init_args: {lr: 0.5, momentum: 0.9}
lr_scheduler:
  class_path: torch.optim.lr_scheduler.StepLR
  init_args: {step_size: 1, gamma: 0.5}
trainer:
  max_epochs: 3
  gradient_clip_val: 0.5
  callbacks:
    - class_path: pytorch_lightning.callbacks.LearningRateMonitor
"""


def final(place, version=0):
    path = place / "results" / "fit" / f"version_{version}" / "checkpoints" / "final.ckpt"
    return path, torch.load(path, weights_only=True)


def test_optimizer_and_lr_scheduler_of_the_command_line(place):
    (place / "sgd.yaml").write_text(SGD)
    options = ["--config", CONFIG, "--config", "sgd.yaml", *SHORT, *QUIET]
    assert main(["fit", *options]) == 0
    path, content = final(place)
    (state,) = content["optimizer_states"]
    assert state["param_groups"][0]["momentum"] == 0.9
    assert state["param_groups"][0]["lr"] == 0.5 * 0.5**3
    table = pd.read_csv(path.parents[1] / "metrics.csv")
    assert table["lr-SGD"].dropna().unique().tolist() == [0.5, 0.25, 0.125]
    kept = yaml.safe_load((path.parents[1] / "config.yaml").read_text())
    assert kept["optimizer"]["class_path"] == "torch.optim.SGD"
    # And on from there.
    assert main(["fit", *options, "--trainer.max_epochs=4", "--ckpt_path", str(path)]) == 0
    _, longer = final(place, version=1)
    assert (longer["epoch"], longer["global_step"]) == (4, 12)
