"""The Lightning task: one predictor, every optimiser, its stop rule, checkpoints that go on to the bit."""

import math

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.plugins.precision import MixedPrecision

from datamodules import Digits
from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.optimise import OptimiserSettings, make_solver
from diffstab.solvers.stopping import StopRule, margin_share
from diffstab.training.task import Task

# Lightning's own use of torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning")

SIZE = 8


def loaded(**options):
    data = Digits(**{"n_train": 24, "n_test": 30, "size": SIZE} | options)
    data.setup()
    return data


@pytest.fixture(scope="module")
def digits():
    return loaded()


@pytest.fixture(scope="module")
def batches():
    """Three training batches and four test batches, the last of them smaller."""
    return loaded(batch_size=8, labels="classes")


def net(seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return FCN(SIZE**2, (20,), generator=generator, **options)


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults = {"enable_checkpointing": False, "num_sanity_val_steps": 0, "accelerator": "cpu"}
    return Trainer(default_root_dir=tmp_path, **quiet | defaults | options)


def settings(name, **stop):
    rule = StopRule(**{"margin_share": None, "loss_bound": 0.0} | stop)
    rate = 1.0 if name == "gd" else 0.05
    return OptimiserSettings(name=name, learning_rate=rate, momentum=0.9, stop=rule)


def test_the_task_is_the_centred_output(digits):
    task = Task(net(), alpha=0.5, xi=0.25)
    x = digits.test_images
    torch.testing.assert_close(task(x), 0.5 * 0.75 * net()(x).squeeze(1))
    assert task.loss.alpha == 0.5


def solved(name, data, alpha, **stop):
    """The predictor that a plain run of the solver ends with, and its status."""
    model = CentredOutput(net(), alpha=alpha)
    solver = make_solver(model, make_loss("soft_hinge", alpha=alpha), settings(name, **stop))
    return model, solver.run(data.train_images, data.train_labels)


@pytest.mark.parametrize("epoch_steps", [None, 1, 3, 100])
@pytest.mark.parametrize("name", ["gd", "adam", "sgd"])
def test_full_batch_descent_equals_the_plain_loop_to_the_bit(tmp_path, digits, name, epoch_steps):
    task = Task(net(), alpha=0.1, optimiser=settings(name, max_steps=7), epoch_steps=epoch_steps)
    assert task.automatic_optimization == (epoch_steps is None)
    trainer(tmp_path, max_epochs=100).fit(task, digits)
    model, status = solved(name, digits, 0.1, max_steps=7)
    assert task.status == status
    assert (status.reason, status.steps) == ("max_steps", 7)
    for trained, expected in zip(task.predictor.parameters(), model.parameters(), strict=True):
        assert torch.equal(trained, expected)


@pytest.mark.parametrize("epoch_steps", [None, 7, 10_000])
@pytest.mark.parametrize("name", ["gradient_flow", "euler"])
def test_a_flow_equals_the_plain_run_to_the_bit(tmp_path, digits, name, epoch_steps):
    alpha, stop = 1e-3 if name == "gradient_flow" else 1.0, {"margin_share": 0.99, "loss_bound": None}
    task = Task(net(), alpha=alpha, optimiser=settings(name, **stop), epoch_steps=epoch_steps)
    run = trainer(tmp_path, max_epochs=1000)
    run.fit(task, digits)
    model, status = solved(name, digits, alpha, **stop)
    assert task.stop_reason == status.reason == "margin"
    assert (task.status.steps, task.status.time) == (status.steps, status.time)
    assert run.callback_metrics["flow_time"] == pytest.approx(status.time)
    assert run.callback_metrics["steps"] == status.steps
    x = digits.train_images
    assert torch.equal(task(x), model(x))


@pytest.mark.parametrize("name", ["gradient_flow", "euler", "gd", "adam"])
def test_training_ends_when_the_margin_is_met(tmp_path, digits, name):
    optimiser = settings(name, margin_share=0.99, loss_bound=None)
    task = Task(net(), alpha=1e-2 if name == "gradient_flow" else 1.0, optimiser=optimiser)
    run = trainer(tmp_path, max_epochs=2000)
    run.fit(task, digits)
    assert task.stop_reason == "margin"
    assert run.current_epoch < 2000
    with torch.no_grad():
        assert margin_share(task(digits.train_images), digits.train_labels) >= 0.99


def test_training_by_mini_batches_ends_at_the_loss_bound(tmp_path, batches):
    optimiser = settings("adam", loss_bound=0.5)
    task = Task(net(out_features=10), loss="cross_entropy", optimiser=optimiser)
    run = trainer(tmp_path, max_epochs=500)
    run.fit(task, batches)
    assert task.stop_reason == "loss"
    assert run.callback_metrics["train_loss"] <= 0.5


@pytest.mark.parametrize("name", ["gradient_flow", "euler", "gd", "adam", "sgd"])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path, digits, batches, name):
    in_batches = name in ("adam", "sgd")
    data = batches if in_batches else digits

    def task(seed):
        options = {"loss": "cross_entropy"} if in_batches else {}
        outputs = {"out_features": 10} if in_batches else {}
        steps = None if in_batches else 4
        return Task(net(seed, **outputs), alpha=0.5, optimiser=settings(name), epoch_steps=steps, **options)

    whole, whole_run = task(0), trainer(tmp_path, max_epochs=6)
    whole_run.fit(whole, data)
    half_run = trainer(tmp_path, max_epochs=3)
    half_run.fit(task(0), data)
    half_run.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    # Other initial weights: all of them must come from the checkpoint, f_0 too.
    resumed, resumed_run = task(1), trainer(tmp_path, max_epochs=6)
    resumed_run.fit(resumed, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert resumed_run.global_step == whole_run.global_step
    assert resumed.state_dict().keys() == whole.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    states = [run.optimizers[0].state_dict() for run in (whole_run, resumed_run)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for index, state in states[0]["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(states[1]["state"][index][key]), torch.as_tensor(value))
    moved = [torch.equal(a, b) for a, b in zip(whole.predictor.net.parameters(), task(0).parameters())]
    assert not any(moved)


def test_a_checkpoint_is_plain_and_gives_the_predictor_back(tmp_path, digits):
    task = Task(net(), alpha=1e-3, xi=0.5, optimiser=settings("gd"))
    run = trainer(tmp_path, max_epochs=2)
    run.fit(task, digits)
    path = tmp_path / "two.ckpt"
    run.save_checkpoint(path, weights_only=False)
    content = torch.load(path, weights_only=True)
    hyper_parameters = {"alpha": 1e-3, "xi": 0.5, "loss": "soft_hinge", "loss_beta": 20.0}
    assert content["hyper_parameters"] == hyper_parameters
    again = Task.load_from_checkpoint(path, net=net(3), weights_only=True)
    assert torch.equal(again(digits.test_images), task(digits.test_images))


def test_validation_and_test_average_over_images_not_batches(tmp_path, batches):
    task = Task(net(out_features=10), xi=0.0, loss="cross_entropy", optimiser=settings("adam"))
    outputs = task(batches.test_images)
    expected_loss = torch.nn.functional.cross_entropy(outputs, batches.test_labels).item()
    expected_error = (outputs.argmax(1) != batches.test_labels).double().mean().item()
    run = trainer(tmp_path)
    for stage, measure in (("val", run.validate), ("test", run.test)):
        (found,) = measure(task, batches, verbose=False)
        assert found[f"{stage}_loss"] == pytest.approx(expected_loss, rel=1e-5)
        assert found[f"{stage}_error"] == pytest.approx(expected_error, rel=1e-5)


def test_predictions_are_the_outputs_in_order(tmp_path, batches):
    task = Task(net(out_features=10), xi=0.0, loss="cross_entropy")
    outputs = torch.cat(trainer(tmp_path).predict(task, batches))
    torch.testing.assert_close(outputs, task(batches.test_images))


def test_a_double_net_takes_single_images(tmp_path, digits):
    task = Task(net(dtype=torch.float64), alpha=1e3, optimiser=settings("gradient_flow"))
    trainer(tmp_path, max_epochs=1).fit(task, digits)
    assert task(digits.test_images).dtype == torch.float64


@pytest.mark.parametrize("name", ["gradient_flow", "euler", "gd"])
def test_full_batch_optimisers_refuse_mini_batches(tmp_path, name):
    task = Task(net(), optimiser=settings(name))
    message = rf"data\.batch_size must be null \(the full batch\) for {name}, got 3 batches"
    with pytest.raises(ArgumentError, match=message):
        trainer(tmp_path, max_epochs=1).fit(task, loaded(batch_size=8))


def test_a_diverging_training_says_so(tmp_path, digits):
    optimiser = OptimiserSettings(name="gd", learning_rate=1e20)
    task = Task(net(), loss="mse", optimiser=optimiser)
    with pytest.raises(DegenerateError, match=r"The (train|val) loss became (nan|inf) at step \d+\. Lower"):
        trainer(tmp_path, max_epochs=20).fit(task, digits)


def test_out_of_range():
    with pytest.raises(ArgumentError, match=r"optimiser\.batch_size must be null, got 8.*data module"):
        Task(net(), optimiser=OptimiserSettings(name="adam", batch_size=8))
    with pytest.raises(ArgumentError, match="epoch_steps must be at least 1, got 0"):
        Task(net(), epoch_steps=0)
    with pytest.raises(ArgumentError, match="alpha must be positive and finite"):
        Task(net(), alpha=math.nan)


class Scheduled(Task):
    """An ordinary optimiser and its schedule, as Lightning's users write them."""

    def configure_optimizers(self):
        optimiser = torch.optim.AdamW(self.predictor.net.parameters(), lr=0.02, weight_decay=0.1)
        return [optimiser], [torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.5)]


def plain_loop(model, data, *, epochs, order, clip=None, accumulate=1):
    """The same training by hand: AdamW, a schedule, clipping and accumulation."""
    optimiser = torch.optim.AdamW(model.net.parameters(), lr=0.02, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.5)
    for epoch in range(epochs):
        order.set_epoch(epoch)
        batches = torch.split(order.permutation(), data.batch_size)
        for index, chosen in enumerate(batches):
            x, y = data.train_images[chosen], data.train_labels[chosen]
            (torch.nn.functional.cross_entropy(model(x), y) / accumulate).backward()
            if (index + 1) % accumulate == 0 or index + 1 == len(batches):
                if clip:
                    torch.nn.utils.clip_grad_norm_(model.net.parameters(), clip)
                optimiser.step()
                optimiser.zero_grad()
        schedule.step()


@pytest.mark.parametrize(("clip", "accumulate"), [(None, 1), (0.1, 1), (None, 3), (0.1, 2)])
def test_an_own_optimiser_is_trained_as_in_a_plain_loop(tmp_path, batches, clip, accumulate):
    stop = StopRule(margin_share=None, loss_bound=0.0)
    task = Scheduled(net(out_features=10), loss="cross_entropy", optimiser=OptimiserSettings(stop=stop))
    assert task.automatic_optimization
    options = {"gradient_clip_val": clip, "accumulate_grad_batches": accumulate}
    trainer(tmp_path, max_epochs=5, **options).fit(task, batches)
    model = CentredOutput(net(out_features=10))
    order = batches.train_dataloader().sampler
    plain_loop(model, batches, epochs=5, order=order, clip=clip, accumulate=accumulate)
    x = batches.test_images
    torch.testing.assert_close(task(x), model(x), rtol=1e-4, atol=1e-4)


def test_gradients_are_scaled_in_half_precision(tmp_path, batches):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    settings_ = settings("adam", loss_bound=0.5)
    task = Task(net(out_features=10), loss="cross_entropy", optimiser=settings_)
    trainer(tmp_path, max_epochs=200, plugins=[plugin]).fit(task, batches)
    assert task.stop_reason == "loss"
    assert scaler.get_scale() >= 2.0**10
    with pytest.raises(ArgumentError, match=r"trainer\.precision must scale no gradients for gradient_flow"):
        trainer(tmp_path, max_epochs=1, plugins=[plugin]).fit(Task(net()), loaded())


def test_steps_of_mini_batches_are_counted_to_the_step(tmp_path, batches):
    task = Task(net(out_features=10), loss="cross_entropy", optimiser=settings("adam", max_steps=7))
    run = trainer(tmp_path, max_epochs=100)
    run.fit(task, batches)
    assert (run.global_step, task.status.steps, task.stop_reason) == (7, 7, "max_steps")
    assert run.callback_metrics["train_loss"] == pytest.approx(task.status.loss)


def starts(task):
    """Counts the images that f_0 is computed of."""
    counted = []
    task.predictor.initial.register_forward_hook(lambda module, inputs, output: counted.append(len(output)))
    return counted


@pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`", "ignore:.*does not have many workers")
def test_f_0_is_computed_once_per_training_image(tmp_path, batches):
    task = Task(net(out_features=10), loss="cross_entropy", optimiser=settings("adam"))
    counted = starts(task)
    trainer(tmp_path, max_epochs=10, limit_val_batches=0).fit(task, batches)
    assert sum(counted) == 24 + 2 * 24  # and twice on the first 32, of which there are 24
    other = Task(net(out_features=10), loss="cross_entropy", optimiser=settings("adam"))
    loader = torch.utils.data.TensorDataset(batches.train_images, batches.train_labels)
    order = batches.train_dataloader().sampler

    class Order(torch.utils.data.Sampler):
        def __iter__(self):
            return iter(order.permutation().tolist())

        def __len__(self):
            return 24

        def set_epoch(self, epoch):
            order.set_epoch(epoch)

    with torch.random.fork_rng():  # which torch's loader draws from
        loader = torch.utils.data.DataLoader(loader, batch_size=8, sampler=Order())
        trainer(tmp_path, max_epochs=10, limit_val_batches=0).fit(other, loader)
    x = batches.test_images
    torch.testing.assert_close(task(x), other(x), rtol=1e-4, atol=1e-5)


class Flipped(Task):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0].flip(-1), batch[1]


class Noisy(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        batch[0].add_(0.1)


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
@pytest.mark.parametrize(("kind", "callbacks"), [(Flipped, []), (Task, [Noisy()])])
def test_f_0_is_that_of_the_images_that_the_net_sees(tmp_path, batches, kind, callbacks):
    task = kind(net(out_features=10), loss="cross_entropy", optimiser=settings("adam"))
    counted = starts(task)
    trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=callbacks).fit(task, batches)
    assert counted == [8] * 6


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
class Reader(Callback):
    """Takes batches for pairs, as callbacks do."""

    def __init__(self):
        self.read = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        images, labels = batch
        self.read += len(images) == len(labels)


class PairsOnly(Task):
    """Takes batches for pairs in a step of its own."""

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return super().training_step((images, labels), batch_idx)


@pytest.mark.parametrize(("kind", "callbacks"), [(Task, [Reader()]), (PairsOnly, [])])
def test_others_meet_batches_as_the_loader_serves_them(tmp_path, batches, kind, callbacks):
    task = kind(net(), alpha=0.5, optimiser=settings("adam", max_steps=3))
    trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(task, batches)
    assert task.global_step == 3
    assert all(one.read == 3 for one in callbacks)


def test_regression_on_several_outputs(tmp_path, digits):
    x = digits.train_images
    y = torch.stack([x[:, 0, 2, 2], x[:, 0, 4, 4]], dim=1)
    stop = StopRule(margin_share=None, loss_bound=0.02)
    optimiser = OptimiserSettings("adam", learning_rate=0.01, stop=stop)
    task = Task(net(out_features=2), loss="regression", optimiser=optimiser)
    run = trainer(tmp_path, max_epochs=2000)
    with torch.random.fork_rng():
        loader = torch.utils.data.DataLoader([(x, y)], batch_size=None)
        run.fit(task, loader, loader)
    assert task.stop_reason == "loss"
    assert run.callback_metrics["val_error"] == pytest.approx(
        (task(x) - y).square().sum(1).mean().item(), rel=1e-4
    )


def test_an_epoch_of_solver_steps_takes_the_whole_set(tmp_path, batches):
    task = Task(net(out_features=10), loss="cross_entropy", optimiser=settings("adam"), epoch_steps=5)
    with pytest.raises(ArgumentError, match=r"be null \(the full batch\) for epoch_steps, got 3 batches"):
        trainer(tmp_path, max_epochs=1).fit(task, batches)
