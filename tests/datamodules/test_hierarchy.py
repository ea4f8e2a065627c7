"""The random hierarchy model as a data module."""

import pytest
import torch

from datamodules import RandomHierarchy
from diffstab.errors import ArgumentError
from diffstab.tasks.images import read_images


def loaded(**options):
    data = RandomHierarchy(**options)
    data.setup()
    return data


def strings(images):
    return {tuple(image.flatten().tolist()) for image in images}


@pytest.mark.parametrize(
    "options", [{}, {"levels": 3, "pool": 500}, {"empty": 2, "synonyms": 2, "pool": 500}]
)
def test_images_are_strings_of_the_rules_with_their_classes(options):
    data = loaded(**options)
    places = (2 * (options.get("empty", 0) + 1)) ** options.get("levels", 2)
    assert data.image_shape == (8, 1, places)
    assert data.n_classes == 8
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        features, _ = read_images(images, data.hierarchy)
        assert torch.equal(data.hierarchy.classes_of(features), labels)


def test_the_splits_share_no_string_and_together_are_all():
    data = loaded()  # 8 * 4^3 strings
    train, test = strings(data.train_images), strings(data.test_images)
    assert (len(train), len(test)) == (384, 128)
    assert not train & test


def test_seeds_of_rules_and_of_training_strings_are_two():
    one, other, task = loaded(n_train=64), loaded(n_train=64, seed=1), loaded(n_train=64, rules_seed=1)
    assert torch.equal(one.test_images, other.test_images)
    assert strings(one.train_images) != strings(other.train_images)
    assert strings(one.test_images) != strings(task.test_images)


def test_smaller_training_sets_are_parts_of_larger_ones_and_balanced():
    small, large = loaded(n_train=64), loaded(n_train=256)
    assert torch.equal(small.train_images, large.train_images[:64])
    assert torch.bincount(small.train_classes).tolist() == [8] * 8


def test_a_batch_is_served_as_of_any_data_set():
    data = loaded(n_train=10, batch_size=4, labels="parity")
    assert [len(images) for images, _ in data.train_dataloader()] == [4, 4, 2]
    assert torch.equal(data.train_labels, 1.0 - 2 * (data.train_classes % 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, "size must be None, got 8. Strings cannot be resized"),
        ({"n_train": 100, "pool": 50}, "pool must be at least n_train = 100, got 50"),
        ({"synonyms": 9}, "synonyms must be at most"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        RandomHierarchy(**options)
