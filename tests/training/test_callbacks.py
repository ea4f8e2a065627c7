"""Stability on the way of a training, and the weights at its end."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from datamodules import Digits, RandomHierarchy
from diffstab.errors import ArgumentError
from diffstab.nets import FCN, TreeNet
from diffstab.nets.initial import initial_weights
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.stability import (
    FeatureMoves,
    SynonymExchange,
    diffeomorphism,
    layer_stability,
    measure_stability,
    numbered_pairs,
    random_rotation,
    stability_of,
)
from diffstab.streams import integer_seed
from diffstab.training.callbacks import FinalCheckpoint, HierarchyProbe, StabilityProbe, run_folder
from diffstab.training.samples import images_of
from diffstab.training.task import Task

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning")


@pytest.fixture(scope="module")
def digits():
    data = Digits(n_train=24, n_test=30, size=8)
    data.setup()
    return data


def task(**options):
    net = FCN(64, (20,), generator=torch.Generator().manual_seed(0))
    optimiser = OptimiserSettings(name=options.pop("name", "gd"), learning_rate=0.1)
    return Task(net, optimiser=optimiser, **options)


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
    probes = numbered_pairs(
        digits.test_images,
        torch.arange(30),
        deform=diffeomorphism(0.5),
        noise="batch",
        fields_per_image=2,
        seed=integer_seed(3, "validation probes", 0, below=2**63),
    )
    report = stability_of(model, probes, bootstrap=0, generator=torch.Generator())
    expected = report.estimate.deformation, report.estimate.noise, report.estimate.relative
    for name, value in zip("DGR", expected):
        # Logged in single precision, and the same draws the second time.
        assert logged[0][f"{stage}_{name}"] == logged[1][f"{stage}_{name}"]
        assert logged[0][f"{stage}_{name}"] == pytest.approx(float(value), rel=1e-5)


def test_a_constant_predictor_has_no_stability(tmp_path, digits):
    (logged,) = trainer(tmp_path, StabilityProbe(delta_px=0.5)).validate(task(xi=1.0), digits, verbose=False)
    assert all(math.isnan(logged[f"val_{name}"]) for name in "DGR")


def test_batch_sizes_change_no_number(tmp_path, digits):
    model, found = task(xi=0.0), []
    for size in (None, 1, 7, 30):
        data = Digits(n_train=24, n_test=30, size=8, batch_size=size)
        found += trainer(tmp_path, StabilityProbe(delta_px=0.5)).validate(model, data, verbose=False)
    for row in found[1:]:
        assert row == pytest.approx(found[0], rel=1e-5)


def served(batches):
    """A loader of ready batches."""
    return DataLoader(list(batches), batch_size=None)


class Foreign(LightningModule):
    """Somebody else's module: BatchNorm, works on its input in place, and takes dictionaries."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 3))

    def forward(self, x):
        return self.net(x.mul_(2.0))

    def validation_step(self, batch, batch_idx):
        return None


@pytest.mark.parametrize(
    "wrap", [list, lambda parts: {"images": parts[0], "y": parts[1]}, lambda parts: parts[0]]
)
def test_batches_and_modules_of_others(tmp_path, digits, wrap):
    with torch.random.fork_rng():
        model = Foreign()
    parts = torch.split(digits.test_images.clone(), 10), torch.split(digits.test_labels, 10)
    before = digits.test_images.clone()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    loader = served(wrap(pair) for pair in zip(*parts, strict=True))
    run = trainer(tmp_path, StabilityProbe(delta_px=0.5))
    with torch.random.fork_rng():  # which torch's loader draws from
        (found,) = run.validate(model, loader, verbose=False)
    probes = numbered_pairs(
        digits.test_images,
        torch.arange(30),
        deform=diffeomorphism(0.5),
        seed=integer_seed(0, "validation probes", 0, below=2**63),
    )
    report = stability_of(model, probes, bootstrap=0, generator=torch.Generator())
    assert found["val_R"] == pytest.approx(float(report.estimate.relative), rel=1e-5)
    assert torch.equal(torch.cat(parts[0]), before)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize(
    ("batch", "received"),
    [
        ({"x": 1}, "dict with keys x"),
        ({"images": 1}, "dict with keys images"),
        ([], r"list of \(\)"),
        ((1, 2), r"tuple of \(int, int\)"),
        (torch.tensor(1.0), r"a tensor of shape \(\)"),
        (3, "int"),
    ],
)
def test_a_batch_without_images_is_told(batch, received):
    with pytest.raises(ArgumentError, match=f"batch.* must .* got {received}"):
        images_of(batch)


@pytest.mark.filterwarnings("ignore:The .val_dataloader. does not have many workers")
def test_a_module_that_returns_no_tensor_is_told(tmp_path, digits):
    class Tuple(Foreign):
        def forward(self, x):
            return (x,)

    with torch.random.fork_rng():
        model = Tuple()
    run = trainer(tmp_path, StabilityProbe(delta_px=0.5))
    with (
        torch.random.fork_rng(),
        pytest.raises(
            ArgumentError, match=r"output of the model must be a tensor, got tuple. Say which part"
        ),
    ):
        run.validate(model, served([digits.test_images]), verbose=False)


@pytest.mark.filterwarnings("ignore:The .val_dataloader. does not have many workers")
def test_parts_of_batches_and_outputs_are_found_as_told(tmp_path, digits):
    class Named(Foreign):
        def forward(self, x):
            return {"logits": super().forward(x), "more": x}

    with torch.random.fork_rng():
        plain, named = Foreign(), Named()
    named.load_state_dict(plain.state_dict())
    images = digits.test_images.clone()
    options = {"transform": lambda batch: batch["x"]["pixels"], "output": lambda out: out["logits"]}
    probes = StabilityProbe(delta_px=0.5), StabilityProbe(delta_px=0.5, **options)
    found = []
    for probe, model, batch in zip(probes, (plain, named), (images, {"x": {"pixels": images}}), strict=True):
        with torch.random.fork_rng():
            found += trainer(tmp_path, probe).validate(model, served([batch]), verbose=False)
    assert found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.filterwarnings("ignore:The .val_dataloader. does not have many workers")
def test_layers_are_logged_by_name_with_intervals(tmp_path, digits):
    with torch.random.fork_rng():
        model = Foreign()
    probe = StabilityProbe(delta_px=0.5, layers=["net.[01]", "output"], seed=2)
    with torch.random.fork_rng():
        (found,) = trainer(tmp_path, probe).validate(
            model, served([digits.test_images.clone()]), verbose=False
        )
    where = ("/net.0", "/net.1", "")
    assert set(found) == {f"val_{q}{end}{at}" for q in "DGR" for end in ("", "_low", "_high") for at in where}
    expected = layer_stability(
        model.net,
        2 * digits.test_images,
        ["0"],
        deform=diffeomorphism(0.5),
        bootstrap=0,
        seed=integer_seed(2, "validation probes", 0, below=2**63),
    )["0"]
    assert found["val_D/net.0"] == pytest.approx(float(expected.estimate.deformation), rel=1e-5)
    for at in where:
        assert found[f"val_D_low{at}"] < found[f"val_D{at}"] < found[f"val_D_high{at}"]


def test_a_number_of_images_bounds_the_cost(tmp_path, digits):
    model, found = task(xi=0.0), []
    for size in (None, 7):
        data = Digits(n_train=24, n_test=30, size=8, batch_size=size)
        probe = StabilityProbe(delta_px=0.5, images=10)
        found += trainer(tmp_path, probe).validate(model, data, verbose=False)
    part = SimpleNamespace(images=digits.test_images[:10])
    expected = measure_stability(
        model,
        part.images,
        deform=diffeomorphism(0.5),
        bootstrap=0,
        seed=integer_seed(0, "validation probes", 0, below=2**63),
    )
    for row in found:
        assert row["val_R"] == pytest.approx(float(expected.estimate.relative), rel=1e-5)


def test_a_log_spaced_schedule_measures_on_the_way_and_changes_no_training(tmp_path):
    data = Digits(n_train=24, n_test=30, size=8, batch_size=8)
    runs = []
    for callbacks in (
        [],
        [StabilityProbe(delta_px=0.5, every="log", images=20, layers=["output", "predictor.net"])],
    ):
        model = task(xi=0.0, name="sgd")
        logger = CSVLogger(tmp_path, name=f"log{len(callbacks)}")
        run = trainer(tmp_path, *callbacks, max_epochs=4, logger=logger, log_every_n_steps=1)
        run.fit(model, data)
        runs.append(model)
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in runs)))
    (probe,) = callbacks
    assert [row["step"] for row in probe.history] == [0, 1, 2, 4, 8, 12]
    expected = measure_stability(
        runs[1],
        data.test_images[:20],
        deform=diffeomorphism(0.5),
        bootstrap=0,
        seed=integer_seed(0, "validation probes", 0, below=2**63),
    )
    assert probe.history[-1]["val_R"] == pytest.approx(float(expected.estimate.relative), rel=1e-5)
    table = pd.read_csv(tmp_path / "log1" / "version_0" / "metrics.csv").dropna(subset="val_R")
    assert table["step"].tolist() == [0, 1, 2, 4, 8, 12]
    assert table["val_D_low/predictor.net"].notna().all()


def test_probe_refuses_bad_values():
    for options, message in (
        ({"delta_px": 0.0}, "delta_px must be > 0"),
        ({"images": 1}, "images must be >= 2, got 1"),
        ({"bootstrap": -1}, "bootstrap must be >= 0, got -1"),
        ({"every": "step"}, 'every must be "validation" or "log", got \'step\''),
        ({"noise": "loud"}, "noise must be"),
    ):
        with pytest.raises(ArgumentError, match=message):
            StabilityProbe(**options)


def test_a_pattern_without_modules_is_told(tmp_path, digits):
    run = trainer(tmp_path, StabilityProbe(layers=["conv*"]))
    with pytest.raises(ArgumentError, match=r"layers: 'conv\*' must match a layer"):
        run.validate(task(), digits, verbose=False)


@pytest.mark.filterwarnings("ignore:The .val_dataloader. does not have many workers")
def test_what_cannot_be_measured_is_told(tmp_path, digits):
    class Formless(LightningModule):
        def validation_step(self, batch, batch_idx):
            return None

    with torch.random.fork_rng():
        foreign = Foreign()
    for model, batch, message in (
        (
            Formless(),
            digits.test_images,
            r"module must have a method forward\(images\).*Formless without one",
        ),
        (foreign, digits.test_labels, r"images of StabilityProbe must be floating, of shape .*transform="),
    ):
        with torch.random.fork_rng(), pytest.raises(ArgumentError, match=message):
            trainer(tmp_path, StabilityProbe()).validate(model, served([batch]), verbose=False)


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


def test_another_deformation_and_a_name(tmp_path, digits):
    probe = StabilityProbe(deform=random_rotation(5.0), name="rotation", bootstrap=0, seed=3)
    (logged,) = trainer(tmp_path, probe, StabilityProbe(delta_px=0.5)).validate(
        task(xi=0.0), digits, verbose=False
    )
    model = task(xi=0.0)
    seed = integer_seed(3, "validation probes", 0, below=2**63)
    expected = measure_stability(
        model, digits.test_images, deform=random_rotation(5.0), bootstrap=0, seed=seed
    )
    assert logged["val_D_rotation"] == pytest.approx(float(expected.estimate.deformation), rel=1e-5)
    assert logged["val_D"] != logged["val_D_rotation"]
    assert {"val_D_low", "val_R"} <= logged.keys()
    assert "val_D_rotation_low" not in logged


def test_probes_of_a_hierarchy_take_its_rules_from_the_data(tmp_path):
    data = RandomHierarchy(empty=1, n_train=20, n_test=40, pool=100)
    with initial_weights(0):
        net = TreeNet(patch=4, width=10)
    model = Task(net, xi=0.0, loss="cross_entropy", optimiser=OptimiserSettings(name="adam"))
    probes = [HierarchyProbe("synonyms", seed=1), HierarchyProbe("moves", seed=1, bootstrap=0)]
    (logged,) = trainer(tmp_path, *probes).validate(model, data, verbose=False)
    seed = integer_seed(1, "validation probes", 0, below=2**63)
    for name, kind in (("synonyms", SynonymExchange), ("moves", FeatureMoves)):
        change = kind(hierarchy=data.hierarchy)
        found = measure_stability(model, data.test_images, deform=change, bootstrap=0, seed=seed).estimate
        assert logged[f"val_D_{name}"] == pytest.approx(float(found.deformation), rel=1e-5)
        assert logged[f"val_R_{name}"] == pytest.approx(float(found.relative), rel=1e-5)
    assert logged["val_D_synonyms_low"] <= logged["val_D_synonyms"] <= logged["val_D_synonyms_high"]


def test_probes_of_a_hierarchy_refuse_other_data_and_other_changes(tmp_path, digits):
    with pytest.raises(ArgumentError, match="change must be one of synonyms, moves, got 'words'"):
        HierarchyProbe("words")
    with pytest.raises(ArgumentError, match="data must have the rules of a hierarchy, got Digits"):
        trainer(tmp_path, HierarchyProbe()).validate(task(xi=0.0), digits, verbose=False)
