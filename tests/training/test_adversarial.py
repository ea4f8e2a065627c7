"""Training on images that are moved against the net."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from datamodules import Digits
from diffstab.errors import ArgumentError
from diffstab.nets import FCN
from diffstab.nets.initial import initial_weights
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.training.adversarial import AdversarialImages, worst_images
from diffstab.training.task import Task

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")


def test_of_a_linear_loss_the_worst_image_is_along_the_weights():
    """max over |e| <= r of w . (x + e) is at e = r w / |w|, whatever x is."""
    weights = torch.tensor([3.0, 0.0, -4.0]).reshape(1, 1, 3)
    images = torch.randn(4, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    moved = worst_images(lambda x: (x * weights).flatten(1).sum(1), images, radius=0.5, steps=3)
    torch.testing.assert_close(moved - images, (0.5 * weights / 5).expand_as(images))
    assert torch.equal(images, before)


def test_it_stays_within_the_radius_and_raises_every_loss():
    images = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with initial_weights(0):
        net = FCN(16, (30,))

    def losses(x):
        return net(x)[:, 0].square()

    moved = worst_images(losses, images, radius=0.3, steps=10)
    assert (moved - images).flatten(1).norm(dim=1).max() <= 0.3 * (1 + 1e-6)
    assert (losses(moved) > losses(images)).all()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_flat_loss_moves_nothing():
    images = torch.ones(2, 1, 3, 3)
    moved = worst_images(lambda x: 0 * x.flatten(1).sum(1), images, radius=1.0, steps=2)
    assert torch.equal(moved, images)


def fit(callbacks, *, xi=0.0, batch_size=20, epochs=60, rate=0.1):
    with initial_weights(0):
        net = FCN(64, (30,), out_features=10, activation="relu")
    task = Task(
        net, xi=xi, loss="cross_entropy", optimiser=OptimiserSettings(name="adam", learning_rate=rate)
    )
    data = Digits(
        n_train=60, n_test=200, labels="classes", size=8, normalisation="none", batch_size=batch_size
    )
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(
        max_epochs=epochs,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=callbacks,
        **quiet,
    )
    trainer.fit(task, data)
    return task, data


def test_a_net_that_is_trained_so_withstands_what_another_does_not():
    found = {}
    for name, callbacks in (("plain", []), ("against", [AdversarialImages(radius=1.0)])):
        task, data = fit(callbacks, epochs=20)
        task.eval()

        def losses(x, task=task, labels=data.test_labels):
            return task.loss.pointwise(task(x), labels)

        moved = worst_images(losses, data.test_images, radius=1.0, steps=20)
        found[name] = losses(moved).mean().item()
    assert found["against"] < 0.7 * found["plain"]


def test_the_stored_images_are_left_alone():
    _, data = fit([AdversarialImages(radius=1.0)], epochs=1)
    fresh = Digits(n_train=60, n_test=200, labels="classes", size=8, normalisation="none")
    fresh.setup()
    assert torch.equal(data.train_images, fresh.train_images)


def test_the_initial_output_is_that_of_the_moved_images():
    """A frozen net has F = 0 on whatever it is shown, and so the loss of ten equal scores: log 10."""
    task, _ = fit([AdversarialImages(radius=2.0)], xi=1.0, epochs=1, rate=1e-12)
    assert task.status.loss == pytest.approx(torch.tensor(10.0).log().item(), abs=1e-5)


class Other(LightningModule):
    def training_step(self, batch, batch_idx):
        raise AssertionError

    def configure_optimizers(self):
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])


def test_what_cannot_be_trained_so_is_refused():
    with pytest.raises(ArgumentError, match="radius must be positive"):
        AdversarialImages(radius=0.0)
    with pytest.raises(ArgumentError, match="steps must be at least 1"):
        AdversarialImages(radius=1.0, steps=0)
    with pytest.raises(ArgumentError, match=r"data\.batch_size must give two batches or more"):
        fit([AdversarialImages(radius=1.0)], batch_size=None)
    with pytest.raises(ArgumentError, match="model must be a Task"):
        AdversarialImages(radius=1.0).on_train_start(Trainer(logger=False), Other())
