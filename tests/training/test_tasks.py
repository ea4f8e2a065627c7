"""The Lightning task: one predictor, every optimiser, its stop rule, checkpoints that go on to the bit."""

import math

import pytest
import torch
from pytorch_lightning import Trainer

from datamodules import Digits
from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.optimise import OptimiserSettings, fit_model
from diffstab.solvers.stopping import StopRule, margin_share
from diffstab.training.tasks import ImageTask, error_share

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
    task = ImageTask(net(), alpha=0.5, xi=0.25)
    x = digits.test_images
    torch.testing.assert_close(task(x), 0.5 * 0.75 * net()(x).squeeze(1))
    assert task.loss.alpha == 0.5


@pytest.mark.parametrize("name", ["gd", "adam"])
def test_full_batch_descent_equals_the_plain_loop_to_the_bit(tmp_path, digits, name):
    task = ImageTask(net(), alpha=0.1, optimiser=settings(name, max_steps=7))
    run = trainer(tmp_path, max_epochs=100)
    run.fit(task, digits)
    model = CentredOutput(net(), alpha=0.1)
    outcome = fit_model(
        model,
        make_loss("soft_hinge", alpha=0.1),
        digits.train_images,
        digits.train_labels,
        settings=settings(name, max_steps=7),
    )
    assert (task.stop_reason, run.global_step) == (outcome.reason, outcome.steps) == ("max_steps", 7)
    for trained, expected in zip(task.predictor.parameters(), model.parameters(), strict=True):
        assert torch.equal(trained, expected)


def test_a_flow_equals_the_plain_run_to_the_bit(tmp_path, digits):
    options = {"margin_share": 0.99, "loss_bound": None}
    task = ImageTask(net(), alpha=1e-3, optimiser=settings("gradient_flow", **options), flow_steps=10_000)
    run = trainer(tmp_path, max_epochs=100)
    run.fit(task, digits)
    model = CentredOutput(net(), alpha=1e-3)
    loss = make_loss("soft_hinge", alpha=1e-3)
    x, y = digits.train_images, digits.train_labels
    outcome = fit_model(model, loss, x, y, settings=settings("gradient_flow", **options))
    assert task.stop_reason == outcome.reason == "margin"
    assert run.callback_metrics["flow_time"] == pytest.approx(outcome.flow_time)
    assert run.callback_metrics["flow_steps"] == outcome.steps
    assert torch.equal(task(x), model(x))


@pytest.mark.parametrize("name", ["gradient_flow", "euler", "gd", "adam"])
def test_training_ends_when_the_margin_is_met(tmp_path, digits, name):
    optimiser = settings(name, margin_share=0.99, loss_bound=None)
    task = ImageTask(net(), alpha=1e-2 if name == "gradient_flow" else 1.0, optimiser=optimiser)
    run = trainer(tmp_path, max_epochs=2000)
    run.fit(task, digits)
    assert task.stop_reason == "margin"
    assert run.current_epoch < 2000
    with torch.no_grad():
        assert margin_share(task(digits.train_images), digits.train_labels) >= 0.99


def test_training_by_mini_batches_ends_at_the_loss_bound(tmp_path, batches):
    optimiser = settings("adam", loss_bound=0.5)
    task = ImageTask(net(out_features=10), loss="cross_entropy", optimiser=optimiser)
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
        return ImageTask(net(seed, **outputs), alpha=0.5, optimiser=settings(name), flow_steps=4, **options)

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
    task = ImageTask(net(), alpha=1e-3, xi=0.5, optimiser=settings("gd"))
    run = trainer(tmp_path, max_epochs=2)
    run.fit(task, digits)
    path = tmp_path / "two.ckpt"
    run.save_checkpoint(path, weights_only=False)
    content = torch.load(path, weights_only=True)
    hyper_parameters = {"alpha": 1e-3, "xi": 0.5, "loss": "soft_hinge", "loss_beta": 20.0}
    assert content["hyper_parameters"] == hyper_parameters
    again = ImageTask.load_from_checkpoint(path, net=net(3), weights_only=True)
    assert torch.equal(again(digits.test_images), task(digits.test_images))


def test_validation_and_test_average_over_images_not_batches(tmp_path, batches):
    task = ImageTask(net(out_features=10), xi=0.0, loss="cross_entropy", optimiser=settings("adam"))
    outputs = task(batches.test_images)
    expected_loss = torch.nn.functional.cross_entropy(outputs, batches.test_labels).item()
    expected_error = (outputs.argmax(1) != batches.test_labels).double().mean().item()
    run = trainer(tmp_path)
    for stage, measure in (("val", run.validate), ("test", run.test)):
        (found,) = measure(task, batches, verbose=False)
        assert found[f"{stage}_loss"] == pytest.approx(expected_loss, rel=1e-5)
        assert found[f"{stage}_error"] == pytest.approx(expected_error, rel=1e-5)


def test_predictions_are_the_outputs_in_order(tmp_path, batches):
    task = ImageTask(net(out_features=10), xi=0.0, loss="cross_entropy")
    outputs = torch.cat(trainer(tmp_path).predict(task, batches))
    torch.testing.assert_close(outputs, task(batches.test_images))


def test_a_double_net_takes_single_images(tmp_path, digits):
    task = ImageTask(net(dtype=torch.float64), alpha=1e3, optimiser=settings("gradient_flow"))
    trainer(tmp_path, max_epochs=1).fit(task, digits)
    assert task(digits.test_images).dtype == torch.float64


def test_convention_an_output_of_zero_is_an_error():
    assert error_share(torch.tensor([0.0, 1.0, -2.0, 0.5]), torch.tensor([1.0, 1.0, 1.0, -1.0])) == 0.75
    assert error_share(torch.tensor([[0.0, 1.0], [3.0, 2.0]]), torch.tensor([1, 1])) == 0.5


@pytest.mark.parametrize("name", ["gradient_flow", "euler", "gd"])
def test_full_batch_optimisers_refuse_mini_batches(tmp_path, name):
    task = ImageTask(net(), optimiser=settings(name))
    message = rf"data\.batch_size must be null \(the full batch\) for {name}, got 3 batches"
    with pytest.raises(ArgumentError, match=message):
        trainer(tmp_path, max_epochs=1).fit(task, loaded(batch_size=8))


def test_a_diverging_training_says_so(tmp_path, digits):
    optimiser = OptimiserSettings(name="gd", learning_rate=1e20)
    task = ImageTask(net(), loss="mse", optimiser=optimiser)
    with pytest.raises(DegenerateError, match=r"The (train|val) loss became (nan|inf) at step \d+\. Lower"):
        trainer(tmp_path, max_epochs=20).fit(task, digits)


def test_out_of_range():
    with pytest.raises(ArgumentError, match=r"optimiser\.batch_size must be null, got 8.*data module"):
        ImageTask(net(), optimiser=OptimiserSettings(name="adam", batch_size=8))
    with pytest.raises(ArgumentError, match="flow_steps must be at least 1, got 0"):
        ImageTask(net(), flow_steps=0)
    with pytest.raises(ArgumentError, match="alpha must be positive and finite"):
        ImageTask(net(), alpha=math.nan)
