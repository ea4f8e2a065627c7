"""Training on augmented images by `fit` and by `compare`."""

import pytest
import torch

from datamodules import Digits
from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.nets import CNN
from diffstab.nets.initial import initial_weights
from diffstab.results import read_records
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.stopping import StopRule
from diffstab.training.task import Task
from diffstab.training.train_net import train_net

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]

DEFORM = {
    "class_path": "diffstab.diffeo.augmentation.DeformationAugmentation",
    "init_args": {"cutoffs": [2, 3]},
}


def data(augmentation=DEFORM):
    module = Digits(n_train=40, n_test=20, labels="classes", size=14, augmentation=augmentation)
    module.setup()
    return module


def trained(module, *, xi=0.0, steps=6):
    with initial_weights(0):
        net = CNN(1, (4,))
    optimiser = OptimiserSettings(name="adam", batch_size=20, stop=StopRule(max_steps=steps))
    return train_net(net, module, alpha=1.0, xi=xi, loss="cross_entropy", optimiser=optimiser)[0]


def test_it_trains_on_other_images_and_repeats_itself():
    first, again, plain = trained(data()), trained(data()), trained(data(None))
    images = data().test_images
    assert torch.equal(first(images), again(images))
    assert not torch.allclose(first(images), plain(images), atol=1e-4)


def test_the_initial_output_is_that_of_the_deformed_images():
    """A frozen net has F = 0 on whatever it is shown, and so the loss of ten equal scores: log 10."""
    losses = []

    class Watched(Task):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            losses.append(float(loss.detach()))
            return loss

    import pytorch_lightning as lightning

    with initial_weights(0):
        task = Watched(
            CNN(1, (4,)), loss="cross_entropy", optimiser=OptimiserSettings(name="sgd", learning_rate=1e-12)
        )
    module = Digits(n_train=40, n_test=20, labels="classes", size=14, batch_size=20, augmentation=DEFORM)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(
        max_epochs=1, num_sanity_val_steps=0, limit_val_batches=0, accelerator="cpu", **quiet
    ).fit(task, module)
    assert losses == pytest.approx([torch.tensor(10.0).log().item()] * 2, abs=1e-5)


@pytest.mark.parametrize("name", ["gradient_flow", "gd"])
def test_solvers_on_fixed_images_refuse_it(name):
    module = Digits(n_train=20, n_test=10, augmentation=DEFORM)
    module.setup()
    with initial_weights(0):
        net = CNN(1, (4,), out_features=1)
    with pytest.raises(ArgumentError, match=r"data\.augmentation must be null, got one for"):
        train_net(net, module, alpha=1.0, optimiser=OptimiserSettings(name=name, stop=StopRule(max_steps=2)))


COMPARE = """
data:
  class_path: datamodules.Digits
  init_args:
    labels: classes
    size: 14
    n_test: 20
    augmentation: {class_path: diffstab.diffeo.augmentation.DeformationAugmentation, init_args: {cutoffs: [2, 3]}}
n_train: [30]
seeds: [0]
loss: cross_entropy
methods:
  cnn:
    trainer: adam
    alpha: 1.0
    net: {class_path: diffstab.nets.CNN, init_args: {channels: [4]}}
    optimiser: {batch_size: 10, stop: {max_steps: 6}}
stability: {delta_px: 0.5, images: 10, fields_per_image: 1, bootstrap: 0}
"""


@pytest.mark.contract
def test_fit_and_compare_take_it_from_yaml(place):
    (place / "c.yaml").write_text(COMPARE)
    assert main(["compare", "--config", "c.yaml", "--results", "r"]) == 0
    assert len(read_records("r")) == 1
    net = [
        "--model.net=diffstab.nets.CNN",
        "--model.net.init_args.channels=[4]",
        "--model.loss=cross_entropy",
    ]
    options = ["--data.labels=classes", "--data.batch_size=10", "--data.n_train=30", "--data.n_test=20"]
    augmentation = ["--data.augmentation=diffstab.diffeo.augmentation.DeformationAugmentation"]
    augmentation += ["--data.augmentation.init_args.cutoffs=[2,4]"]
    trainer = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--model.optimiser.name=adam"]
    assert main(["fit", *net, "--data=datamodules.Digits", *options, *augmentation, *trainer]) == 0
    text = next((place / "results").rglob("config.yaml")).read_text()
    assert "DeformationAugmentation" in text
