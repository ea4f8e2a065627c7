"""Augmentation of the training batches: fresh in each epoch, repeatable, and nowhere else."""

import pytest
import torch
from torch import nn

from datamodules import Digits, EpochOrder, TensorBatches
from diffstab.errors import ArgumentError

DEFORM = {
    "class_path": "diffstab.diffeo.augmentation.DeformationAugmentation",
    "init_args": {"cutoffs": [2, 4]},
}


class Noisy(nn.Module):
    def forward(self, images):
        return images + torch.rand(images.shape)


def loader(*, seed=0, place=None, augment=None, batch_size=4):
    images = torch.zeros(10, 1, 3, 3)
    order = EpochOrder(10, seed=seed)
    options = {"batch_size": batch_size, "sampler": order, "place": place}
    return TensorBatches(images, torch.arange(10), augment=augment or Noisy(), **options)


def epoch(batches, number):
    batches.sampler.set_epoch(number)
    return torch.cat([images for images, _ in batches])


def test_draws_are_fresh_in_each_epoch_and_batch_and_hang_on_the_seed():
    state = torch.get_rng_state()
    batches = loader()
    drawn = torch.cat([epoch(batches, 0), epoch(batches, 1), epoch(loader(seed=1), 0)])
    assert len(torch.unique(drawn.flatten(1), dim=0)) == 30
    assert torch.equal(epoch(loader(), 1), drawn[10:20])
    assert torch.equal(torch.get_rng_state(), state)


def test_processes_have_draws_of_their_own():
    drawn = torch.cat([epoch(loader(place=(process, 2)), 0) for process in range(2)])
    assert len(torch.unique(drawn.flatten(1), dim=0)) == 10


def test_stored_images_stay():
    class Wiping(nn.Module):
        def forward(self, images):
            return images.mul(0).add(7)

    batches = loader(augment=Wiping(), batch_size=None)
    assert float(epoch(batches, 0).mean()) == 7
    assert float(batches.images.abs().max()) == 0


def test_a_data_module_deforms_training_batches_only():
    plain, other = (
        Digits(n_train=20, n_test=10, batch_size=10, augmentation=choice) for choice in (None, DEFORM)
    )
    for data in (plain, other):
        data.setup()
    (images, labels), (deformed, same) = (next(iter(data.train_dataloader())) for data in (plain, other))
    assert torch.equal(labels, same)
    assert not torch.isclose(images, deformed).flatten(1).all(1).any()
    # The border stays: fields vanish there.
    assert torch.equal(images[..., 0, :], deformed[..., 0, :])
    for measured in ("val_dataloader", "test_dataloader"):
        assert torch.equal(next(iter(getattr(other, measured)()))[0], plain.test_images)
    assert torch.equal(plain.train_images, other.train_images)


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"init_args": {}}, "augmentation must have the keys class_path"),
        ({"class_path": "no.such"}, "augmentation must be made of what it describes"),
        ({**DEFORM, "init_args": {"cutoff": 3}}, "made of what it describes.*cutoff"),
        ({"class_path": "builtins.dict"}, "augmentation must be a module, got dict"),
        (3, "augmentation must have the keys"),
    ],
)
def test_descriptions_that_make_none(choice, match):
    with pytest.raises(ArgumentError, match=match):
        Digits(augmentation=choice)
