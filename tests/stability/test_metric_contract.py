"""The metrics inside other people's machinery: collections, wrappers, Lightning."""

import copy
import math
import pickle

import pytest
import pytorch_lightning as pl
import torch
from torchmetrics import MetricTracker
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, MultioutputWrapper, Running

from diffstab.errors import ArgumentError
from diffstab.stability import (
    DeformationStability,
    NoiseStability,
    RelativeStability,
    stability,
    stability_metrics,
)
from tests.references.training import SILENT

FIELDS = {"D": "deformation", "G": "noise", "R": "relative"}


@pytest.fixture
def parts(generator):
    f = torch.randn(23, 3, generator=generator)
    changes = torch.randn(2, 23, 3, generator=generator)
    return f, f + 0.3 * changes[0], f + 0.5 * changes[1]


def take(parts, indices):
    return tuple(part[indices] for part in parts)


def batches(parts, size=5):
    return list(zip(*[part.split(size) for part in parts], strict=True))


def expected(parts):
    return {name: float(getattr(stability(*parts), field)) for name, field in FIELDS.items()}


def close(value):
    return pytest.approx(value, rel=1e-12)


def test_a_collection_has_one_state_and_the_three_numbers(parts):
    metrics = stability_metrics("val_")
    for batch in batches(parts):
        metrics.update(*batch)
    assert metrics.compute() == close({f"val_{k}": v for k, v in expected(parts).items()})
    assert metrics.compute_groups == {0: ["D", "G", "R"]}
    first, *others = metrics.values(copy_state=False)
    assert all(metric.per_image is first.per_image for metric in others)
    metrics.reset()
    metrics.update(*take(parts, slice(9)))
    assert metrics.compute() == close({f"val_{k}": v for k, v in expected(take(parts, slice(9))).items()})


def test_a_collection_of_separate_metrics_finds_the_group_itself(parts):
    from torchmetrics import MetricCollection

    metrics = MetricCollection([RelativeStability(), NoiseStability(), DeformationStability()])
    for batch in batches(parts):
        metrics.update(*batch)
    assert len(metrics.compute_groups) == 1
    assert float(metrics.compute()["NoiseStability"]) == close(expected(parts)["G"])


@pytest.mark.parametrize("forward_first", [True, False])
def test_forward_and_update_mix_in_a_collection(parts, forward_first):
    metrics = stability_metrics()
    for index, batch in enumerate(batches(parts)):
        if (index % 2 == 0) == forward_first:
            assert metrics(*batch) == close({**expected(batch)})
        else:
            metrics.update(*batch)
    assert metrics.compute() == close(expected(parts))
    assert float(metrics["R"].stability().relative_median) == close(float(stability(*parts).relative_median))


def test_a_batch_on_which_it_is_undefined_is_nan_and_loses_nothing(parts):
    metric = RelativeStability()
    values = [float(metric(*take(parts, s))) for s in (slice(10), slice(10, 22), slice(22, 23))]
    assert [math.isnan(value) for value in values] == [False, False, True]
    assert float(metric.compute()) == close(expected(parts)["R"])


def test_a_batch_that_is_refused_leaves_the_state_alone(parts):
    metric = RelativeStability()
    metric(*take(parts, slice(10)))
    bad = [part.clone() for part in take(parts, slice(10, 23))]
    bad[2][0] = math.nan
    for attempt in (metric, metric.update):
        with pytest.raises(ArgumentError, match="f_noisy must be finite"):
            attempt(*bad)
    metric.update(*take(parts, slice(10, 23)))
    assert float(metric.compute()) == close(expected(parts)["R"])


def test_the_state_holds_two_vectors_and_three_numbers_per_image(parts):
    metric = RelativeStability()
    for index in range(23):
        metric(*take(parts, [index]))
    assert [tensor.numel() for tensor in metric.totals] == [2 + 2 * 3]
    assert sum(tensor.numel() for tensor in metric.per_image) == 3 * 23


def test_the_tracker_finds_the_best_epoch(parts):
    tracker = MetricTracker(RelativeStability(), maximize=False)
    f, deformed, noisy = parts
    for scale in (2, 1, 3):
        tracker.increment()
        tracker.update(f, f + scale * (deformed - f), noisy)
    value, step = tracker.best_metric(return_step=True)
    assert (value, step) == (pytest.approx(expected(parts)["R"], rel=1e-6), 1)  # scaled in float32


def test_the_tracker_takes_the_collection(parts):
    tracker = MetricTracker(stability_metrics(), maximize=[False] * 3)
    for size in (10, 23):
        tracker.increment()
        tracker.update(*take(parts, slice(size)))
    assert float(tracker.compute_all()["R"][1]) == close(expected(parts)["R"])


def test_running_takes_the_last_batches(parts):
    running = Running(RelativeStability(), window=2)
    for batch in batches(parts):
        running(*batch)
    assert float(running.compute()) == close(expected(take(parts, slice(15, 23)))["R"])


def test_min_and_max_are_kept(parts):
    metric = MinMaxMetric(RelativeStability())
    for size in (10, 23):
        metric(*take(parts, slice(size)))
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found["min"] <= found["raw"] <= found["max"]


def test_each_output_has_its_own_number(parts):
    metric = MultioutputWrapper(RelativeStability(), num_outputs=3)
    for batch in batches(parts):
        metric.update(*batch)
    single = [expected([part[:, i] for part in parts])["R"] for i in range(3)]
    assert [float(x) for x in metric.compute()] == close(single)


def test_the_bootstrap_of_torchmetrics_resamples_images(parts):
    metric = BootStrapper(RelativeStability(), num_bootstraps=20)
    with torch.random.fork_rng():  # the wrapper draws from the global generator
        torch.manual_seed(0)
        metric.update(*parts)
    found = metric.compute()
    assert abs(float(found["mean"]) - expected(parts)["R"]) < 3 * float(found["std"])
    assert float(found["std"]) > 0


def test_copies_and_pickles_go_on_alone(parts):
    metric = RelativeStability()
    metric.update(*take(parts, slice(10)))
    for copied in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        copied.update(*take(parts, slice(10, 23)))
        assert float(copied.compute()) == close(expected(parts)["R"])
    assert float(metric.compute()) == close(expected(take(parts, slice(10)))["R"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_reduced_in_float64(parts, dtype):
    halves = [part.to(dtype) for part in parts]
    metric = torch.nn.ModuleList([RelativeStability()]).half()[0]
    for batch in batches(halves):
        metric.update(*batch)
    assert float(metric.compute()) == close(expected([half.double() for half in halves])["R"])


def test_a_synchronised_metric_refuses_forward(parts):
    from torchmetrics.utilities.exceptions import TorchMetricsUserError

    metric = RelativeStability()
    metric.update(*parts)
    metric.sync(dist_sync_fn=lambda state, group=None: [state, state], distributed_available=lambda: True)
    with pytest.raises(TorchMetricsUserError, match="call `unsync` before `forward`"):
        metric(*parts)
    metric.unsync()
    assert float(metric.compute()) == close(expected(parts)["R"])


def test_synchronised_in_forward_it_is_that_of_all_processes(parts):
    other = RelativeStability()
    other.update(*take(parts, slice(10, 23)))
    joined = {"totals": torch.cat(other.totals), "per_image": torch.cat(other.per_image)}

    def gather(state, group=None):
        return [state, joined["totals" if state.numel() == 8 else "per_image"]]

    metric = RelativeStability(
        dist_sync_on_step=True, dist_sync_fn=gather, distributed_available_fn=lambda: True
    )
    assert float(metric(*take(parts, slice(10)))) == close(expected(parts)["R"])
    assert sum(tensor.numel() for tensor in metric.per_image) == 30
    assert float(metric.compute()) == close(expected(parts)["R"])
    assert float(metric.stability().noise) == close(expected(parts)["G"])


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)
        self.metric, self.metrics = RelativeStability(), stability_metrics("all_")

    def outputs(self, x):
        return self.layer(x), self.layer(x + 0.1 * x.flip(0)), self.layer(x - 0.2 * x.flip(1))

    def training_step(self, batch, index):
        outputs = self.outputs(batch[0])
        self.metric(*outputs)
        self.log("train_R", self.metric, on_step=True, on_epoch=True)
        return outputs[0].square().mean()

    def validation_step(self, batch, index):
        self.metrics.update(*self.outputs(batch[0]))
        self.log_dict(self.metrics)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_lightning_logs_it(parts, precision, tmp_path):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(parts[0][:22]), batch_size=7)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        precision=precision,
        **SILENT,
        default_root_dir=tmp_path,
    )
    with torch.random.fork_rng():
        net = Net()
        trainer.fit(net, loader, loader)
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    with torch.no_grad():
        outputs = [net.to(dtype).outputs(x.to(dtype)) for x in parts[0][:22].split(7)]
    want = expected([torch.cat(part) for part in zip(*outputs, strict=True)])
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found["train_R_epoch"] == pytest.approx(want["R"], rel=1e-6)
    assert {f"all_{k}": pytest.approx(v, rel=1e-6) for k, v in want.items()}.items() <= found.items()
    assert math.isnan(found["train_R_step"])  # the last batch holds one image


def test_its_intervals_are_those_of_all_images_at_once(parts):
    from diffstab.stability import Samples, bootstrap_interval, stability_sums

    def options():
        return {"resamples": 200, "confidence": 0.9, "generator": torch.Generator().manual_seed(3)}

    metric = RelativeStability()
    for batch in batches(parts, size=12):
        metric.update(*batch)
    found = metric.interval(**options())
    wanted = bootstrap_interval(Samples.of(stability_sums(*parts)), **options())
    # R does not hang on the spread; D does, and its images' spread is counted from the first batch's mean
    assert [float(end.relative) for end in found] == pytest.approx([float(end.relative) for end in wanted])
    assert [float(end.deformation) for end in found] == pytest.approx(
        [float(end.deformation) for end in wanted], rel=0.2
    )
