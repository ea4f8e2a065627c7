"""Stability on the way of a training, and the weights at its end."""

import math
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

from datamodules import Digits
from diffstab.errors import ArgumentError
from diffstab.nets import FCN
from diffstab.stability import diffeomorphism, measure_stability
from diffstab.streams import stream
from diffstab.training.callbacks import FinalCheckpoint, StabilityProbe, run_folder
from diffstab.training.optimise import OptimiserSettings
from diffstab.training.tasks import ImageTask

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning")


@pytest.fixture(scope="module")
def digits():
    data = Digits(n_train=24, n_test=30, size=8)
    data.setup()
    return data


def task(**options):
    net = FCN(64, (20,), generator=torch.Generator().manual_seed(0))
    optimiser = OptimiserSettings(name="gd", learning_rate=0.1)
    return ImageTask(net, optimiser=optimiser, **options)


def trainer(tmp_path, *callbacks, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults = {"enable_checkpointing": False, "num_sanity_val_steps": 0, "accelerator": "cpu"}
    return Trainer(default_root_dir=tmp_path, callbacks=list(callbacks), **quiet | defaults | options)


@pytest.mark.parametrize("stage", ["val", "test"])
def test_probe_logs_what_measure_stability_finds(tmp_path, digits, stage):
    model = task(xi=0.0)
    probe = StabilityProbe(delta_px=0.5, noise="batch", fields_per_image=2, seed=3)
    run = trainer(tmp_path, probe)
    measure = run.validate if stage == "val" else run.test
    logged = [measure(model, digits, verbose=False)[0] for _ in range(2)]
    report = measure_stability(
        model,
        digits.test_images,
        deform=diffeomorphism(0.5),
        noise="batch",
        fields_per_image=2,
        bootstrap=0,
        generator=stream(3, "validation probes"),
    )
    expected = report.estimate.deformation, report.estimate.noise, report.estimate.relative
    for name, value in zip("DGR", expected):
        # Logged in single precision, and the same draws the second time.
        assert logged[0][f"{stage}_{name}"] == logged[1][f"{stage}_{name}"]
        assert logged[0][f"{stage}_{name}"] == pytest.approx(float(value), rel=1e-5)


def test_a_constant_predictor_has_no_stability(tmp_path, digits):
    (logged,) = trainer(tmp_path, StabilityProbe(delta_px=0.5)).validate(task(xi=1.0), digits, verbose=False)
    assert all(math.isnan(logged[f"val_{name}"]) for name in "DGR")


def test_probe_refuses_bad_values():
    with pytest.raises(ArgumentError, match="delta_px must be > 0"):
        StabilityProbe(delta_px=0.0)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks:UserWarning")
def test_the_last_weights_are_kept_and_training_can_go_on(tmp_path, digits):
    logger = CSVLogger(tmp_path, name="fit")
    # Validated, and so saved by Lightning, at epochs 2 and 4 only.
    often = {
        "check_val_every_n_epoch": 2,
        "enable_checkpointing": True,
        "logger": logger,
        "log_every_n_steps": 1,
    }
    model = task()
    run = trainer(tmp_path, FinalCheckpoint(), max_epochs=5, **often)
    run.fit(model, digits)
    path = tmp_path / "fit" / "version_0" / "checkpoints" / "final.ckpt"
    assert run_folder(run) == path.parents[1]
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == content["global_step"] == 5
    for key, value in model.state_dict().items():
        assert torch.equal(content["state_dict"][key], value)
    longer = task()
    trainer(tmp_path, max_epochs=7).fit(longer, digits, ckpt_path=path, weights_only=True)
    whole = task()
    trainer(tmp_path, max_epochs=7).fit(whole, digits)
    assert all(torch.equal(a, b) for a, b in zip(longer.parameters(), whole.parameters()))


def test_no_checkpoints_no_last_one(tmp_path, digits):
    trainer(tmp_path, FinalCheckpoint(), max_epochs=1).fit(task(), digits)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        (None, "root"),
        (SimpleNamespace(save_dir="logs", name="fit", version=3), "logs/fit/version_3"),
        (SimpleNamespace(save_dir="logs", name="project", version="a1b2"), "logs/project/a1b2"),
        (SimpleNamespace(save_dir=None, name="project", version="a1b2"), "root/project/a1b2"),
    ],
)
def test_the_folder_of_a_run(logger, expected):
    run = SimpleNamespace(logger=logger, default_root_dir="root")
    assert run_folder(run).as_posix() == expected
