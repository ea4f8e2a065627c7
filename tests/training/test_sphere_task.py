"""Training on the sphere under Lightning, and every file of configs/sphere."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer

from datamodules import SphereRegression
from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.solvers.sphere import train_sphere
from diffstab.solvers.sphere_net import SphereTraining
from diffstab.training.sphere_task import SphereTask

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs" / "sphere").glob("*.yaml"))
SMALL = ("--model.settings.width=30", "--model.settings.max_steps=300", "--data.n_test=50")
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")

pytestmark = [
    # Of Lightning's own use of torch and of jsonargparse.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
]


@pytest.fixture
def data():
    data = SphereRegression(n_train=12, n_test=40)
    data.setup()
    return data


def trainer(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(default_root_dir=folder, accelerator="cpu", **quiet | {"max_epochs": 1000} | options)


def test_the_task_trains_as_the_function_does(data, tmp_path):
    settings = SphereTraining(width=40, max_steps=500)
    task = SphereTask(settings=settings, epoch_steps=100)
    run = trainer(tmp_path, enable_checkpointing=False)
    run.fit(task, data)
    expected = train_sphere(data.train_points, data.train_values, settings)
    torch.testing.assert_close(task(data.test_points), expected.predict(data.test_points), rtol=0, atol=0)
    assert task.stop_reason == expected.stop_reason == "max_steps"
    assert run.callback_metrics["train_objective"] == pytest.approx(expected.objective)
    assert run.callback_metrics["n_atoms"] == expected.history[-1].n_atoms
    (found,) = run.test(task, data, verbose=False)
    apart = task(data.test_points).detach() - data.test_values
    assert found["test_error"] == pytest.approx(float(apart.square().mean()))


@pytest.mark.parametrize("rule", ["projected_gd", "decay_flow"])
def test_a_resumed_run_goes_on_to_the_bit(data, tmp_path, rule):
    def task():
        return SphereTask(settings=SphereTraining(rule, width=40, max_steps=600), epoch_steps=100)

    whole, first, second = task(), task(), task()
    trainer(tmp_path, enable_checkpointing=False).fit(whole, data)
    half = trainer(tmp_path, max_epochs=3, enable_checkpointing=False)
    half.fit(first, data)
    half.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    trainer(tmp_path, enable_checkpointing=False).fit(
        second, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    assert first.status.steps == 300
    assert second.status == whole.status
    pairs = zip(whole.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_and_is_read_back(config, place):
    assert main(["sphere", "fit", "--config", str(config), *SMALL, *QUIET]) == 0
    run = place / "results" / "fit" / "version_0"
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert kept["model"]["settings"]["rule"] == config.stem
    (checkpoint,) = (run / "checkpoints").glob("final*.ckpt")
    options = ["--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint), *QUIET]
    assert main(["sphere", "predict", *options]) == 0
    outputs = np.load(next(place.rglob("predictions.npz")))["outputs"]
    assert outputs.shape == (50,)
    assert np.isfinite(outputs).all()


def test_a_checkpoint_of_another_width_is_refused(data, tmp_path, capsys, place):
    run = trainer(tmp_path, max_epochs=1)
    run.fit(SphereTask(settings=SphereTraining(width=40, max_steps=100)), data)
    run.save_checkpoint(tmp_path / "one.ckpt")
    options = ["--model.settings.width=30", f"--ckpt_path={tmp_path / 'one.ckpt'}", *QUIET]
    assert main(["sphere", "test", *options]) == 2
    assert "ckpt_path must be of the configured model" in capsys.readouterr().err


def test_the_dimension_is_that_of_the_data(place):
    assert main(["sphere", "fit", "--data.dimension=5", *SMALL, *QUIET]) == 0
    (path,) = (place / "results").rglob("final.ckpt")
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert weights["predictor.net.weights.0"].shape == (30, 5)


def test_epoch_steps_must_be_positive():
    with pytest.raises(ArgumentError, match="epoch_steps must be at least 1"):
        SphereTask(epoch_steps=0)
