"""The task and the probe under each precision of the trainer: right, or refused before a step is made."""

import pytest
import torch
from pytorch_lightning import Trainer

from datamodules import Digits
from diffstab.errors import ArgumentError
from diffstab.nets import FCN
from diffstab.solvers.optimise import OptimiserSettings, StopRule
from diffstab.training.callbacks import StabilityProbe
from diffstab.training.task import Task

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*GradScaler is enabled, but CUDA is not available"),
    pytest.mark.filterwarnings("ignore:.*User provided device_type of 'cuda'"),
]

ROUNDING = {"32-true": 1e-4, "64-true": 1e-6, "bf16-mixed": 0.03, "bf16-true": 0.1}
"""How far losses after a few steps may be from those of float64, relative."""


@pytest.fixture(scope="module")
def digits():
    data = Digits(n_train=60, n_test=50, size=8)
    data.setup()
    return data


def fitted(digits, tmp_path, name, precision, alpha=1.0, **options):
    """Numbers after a short training, and the task."""
    net = FCN(64, (30,), activation="softplus", generator=torch.Generator().manual_seed(0))
    stop = StopRule(max_steps=400)
    optimiser = OptimiserSettings(name=name, learning_rate=options.pop("learning_rate", 0.05), stop=stop)
    task = Task(net, alpha=alpha, optimiser=optimiser, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        precision=precision,
        max_epochs=5,
        enable_checkpointing=False,
        callbacks=[StabilityProbe(delta_px=0.5)],
        **quiet,
    )
    trainer.fit(task, digits)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}, task


@pytest.mark.parametrize("name", ["gd", "sgd", "adam"])
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true"])
def test_descents_are_those_of_double_precision_to_rounding(digits, tmp_path, name, precision):
    rate = 0.05 if name != "adam" else 0.01
    # Without the centring, whose small difference of outputs early in training is half rounding in bfloat16.
    expected, _ = fitted(digits, tmp_path, name, "64-true", learning_rate=rate, xi=0.0)
    found, _ = fitted(digits, tmp_path, name, precision, learning_rate=rate, xi=0.0)
    assert found.keys() == expected.keys()
    for number in ("train_loss", "val_loss"):
        assert found[number] == pytest.approx(expected[number], rel=ROUNDING[precision]), number
    for number in ("val_D", "val_G"):  # of other draws, as those of float32 and float64 are
        assert found[number] == pytest.approx(expected[number], rel=0.5), number


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_flows_run_in_full_precision(digits, tmp_path, precision):
    found, task = fitted(digits, tmp_path, "gradient_flow", precision)
    expected, _ = fitted(digits, tmp_path, "gradient_flow", "64-true")
    # Accepted steps hang on rounding; the stop is at a margin.
    assert task.stop_reason == "margin"
    assert found["val_D"] == pytest.approx(expected["val_D"], rel=0.05)


def test_a_flow_is_not_touched_by_a_mixed_precision(digits, tmp_path):
    mixed, _ = fitted(digits, tmp_path, "gradient_flow", "bf16-mixed")
    full, _ = fitted(digits, tmp_path, "gradient_flow", "32-true")
    assert mixed["flow_time"] == full["flow_time"]
    assert mixed["train_loss"] == full["train_loss"]


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_flow_refuses_half_precision_weights(digits, tmp_path, precision):
    with pytest.raises(ArgumentError, match=r"trainer\.precision must keep float32 or float64 weights"):
        fitted(digits, tmp_path, "gradient_flow", precision)


@pytest.mark.parametrize("name", ["gd", "sgd", "adam"])
def test_training_in_float16_alone_is_refused(digits, tmp_path, name):
    with pytest.raises(ArgumentError, match=r"trainer\.precision must not train in float16 alone"):
        fitted(digits, tmp_path, name, "16-true")


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_a_difference_that_rounding_would_swallow_is_refused(digits, tmp_path, precision):
    with pytest.raises(ArgumentError, match=r"resolve alpha \(f - xi f_0\)"):
        fitted(digits, tmp_path, "adam", precision, alpha=100.0)
