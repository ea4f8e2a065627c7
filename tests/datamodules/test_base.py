"""What every data module does, on the digits and on made-up images."""

import pickle
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from datamodules import Digits, ImageDataModule, Source, Split
from diffstab.errors import ArgumentError, DataError, DegenerateError


def _ready(module):
    module.prepare_data()
    module.setup()
    return module


def test_digits_have_the_shared_interface():
    module = _ready(Digits())
    assert module.name == "digits"
    assert module.train_images.shape == (1200, 1, 28, 28)
    assert module.test_images.shape == (597, 1, 28, 28)
    assert module.image_shape == (1, 28, 28)
    assert module.train_images.dtype == module.train_labels.dtype == torch.float32
    assert module.train_images.is_contiguous()
    assert torch.bincount(module.train_classes).tolist() == [120] * 10
    # The test split holds what is left of 174 to 183 images of each digit.
    assert torch.bincount(module.test_classes).sum() == 597
    assert torch.bincount(module.test_classes).min() >= 54


def test_digits_are_those_of_scikit_learn_each_once():
    module = _ready(Digits(size=None, normalisation="none"))
    images = torch.cat([module.train_images, module.test_images]).flatten(1) * 16
    ours = torch.cat([images, torch.cat([module.train_classes, module.test_classes])[:, None]], 1)
    theirs = torch.cat([torch.tensor(load_digits().data), torch.tensor(load_digits().target)[:, None]], 1)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_convention_parity_is_plus_one_for_even():
    module = _ready(Digits(n_train=50, n_test=50))
    assert module.labels == "parity"
    assert torch.equal(module.train_labels, (-1.0) ** module.train_classes)
    assert torch.equal(module.test_labels, (-1.0) ** module.test_classes)
    assert module.class_names == ("even", "odd")
    assert module.n_classes == 2


def test_class_labels_are_int64_and_parity_changes_nothing_else():
    parity, classes = (_ready(Digits(n_train=50, labels=labels)) for labels in ("parity", "classes"))
    assert classes.train_labels.dtype == torch.int64
    assert torch.equal(classes.train_labels, classes.train_classes)
    assert classes.n_classes == 10
    assert classes.class_names == tuple("0123456789")
    assert torch.equal(classes.train_images, parity.train_images)


@pytest.mark.parametrize("n_train", [1, 2, 25, 32, 1000])
def test_subsets_are_balanced_and_nested(n_train):
    module, whole = _ready(Digits(n_train=n_train)), _ready(Digits())
    assert len(module.train_images) == n_train
    counts = torch.bincount(module.train_classes, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert module.train_labels.sum().abs() <= 1
    assert torch.equal(module.train_images, whole.train_images[:n_train])


def test_seed_changes_the_training_subset_but_not_the_test_subset():
    first, again, other = (_ready(Digits(n_train=100, n_test=60, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.train_images, again.train_images)
    assert not torch.equal(first.train_images, other.train_images)
    assert torch.equal(first.test_images, other.test_images)
    counts = torch.bincount(first.test_classes)
    assert counts.tolist() == [6] * 10


def test_convention_mean_image_is_that_of_the_whole_training_split():
    raw = _ready(Digits(normalisation="none"))
    module = _ready(Digits(n_train=30, n_test=20))
    for images, originals in (
        (module.train_images, raw.train_images[:30]),
        (module.test_images, raw.test_images[:20]),
    ):
        centred = originals - raw.train_images.mean(0)
        expected = centred * (28 / centred.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def test_standard_has_mean_0_and_variance_1_on_the_training_split():
    images = _ready(Digits(normalisation="standard")).train_images.double()
    assert abs(images.mean()) < 1e-6
    assert images.var(correction=0) == pytest.approx(1, abs=1e-6)


def test_loaders_serve_their_splits():
    module = _ready(Digits(n_train=40, n_test=30, batch_size=16))
    for loader, count in (
        (module.train_dataloader(), 40),
        (module.val_dataloader(), 30),
        (module.test_dataloader(), 30),
        (module.predict_dataloader(), 30),
    ):
        assert sum(len(labels) for _, labels in loader) == count
    [(images, _)] = _ready(Digits(n_train=40)).train_dataloader()
    assert len(images) == 40


def test_setup_twice_reads_once(monkeypatch):
    module = _ready(Digits(n_train=10))
    images = module.train_images
    monkeypatch.setattr(module, "read", lambda: pytest.fail("read again"))
    module.setup("test")
    assert module.train_images is images


def test_survives_pickling():
    module = pickle.loads(pickle.dumps(_ready(Digits(n_train=10, n_test=10))))
    assert torch.equal(module.train_images, _ready(Digits(n_train=10)).train_images)


def test_root_defaults_to_the_environment_then_to_data(monkeypatch):
    monkeypatch.setenv("DIFFSTAB_DATA", "/somewhere")
    assert Digits().root == Path("/somewhere")
    assert Digits(root="/else").root == Path("/else")
    monkeypatch.delenv("DIFFSTAB_DATA")
    assert Digits().root == Path("data")


@pytest.mark.parametrize("argument", ["n_train", "n_test", "batch_size", "size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "7"])
def test_counts_are_checked(argument, value):
    least = 3 if argument == "size" else 1
    message = f"{argument} must be an integer of at least {least}, got {value!r}"
    with pytest.raises(ArgumentError, match=message):
        Digits(**{argument: value})


def test_images_without_a_pixel_inside_their_border_are_refused():
    with pytest.raises(ArgumentError, match="size must be an integer of at least 3, got 2"):
        Digits(size=2)


def test_seed_labels_and_normalisation_are_checked():
    with pytest.raises(ArgumentError, match="seed must be an integer of at least 0, got -1"):
        Digits(seed=-1)
    with pytest.raises(ArgumentError, match='labels must be "parity" or "classes", got \'binary\''):
        Digits(labels="binary")
    with pytest.raises(ArgumentError, match='normalisation must be "sphere" or "standard" or "none"'):
        Digits(normalisation="unit")


def test_asking_for_more_than_there_is_says_how_many_there_are():
    with pytest.raises(ArgumentError, match="n_train must be at most 1200, got 1201"):
        _ready(Digits(n_train=1201))
    with pytest.raises(ArgumentError, match="n_test must be at most 597, got 10000"):
        _ready(Digits(n_test=10000))


class _Copies(ImageDataModule):
    name = "copies"

    def read(self):
        split = Split(torch.ones(4, 1, 5, 5, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
        return Source(split, split, ("a", "b"), white=1)


def test_equal_images_cannot_be_put_on_the_sphere():
    with pytest.raises(DegenerateError, match="equals the mean image"):
        _Copies().setup()
    module = _Copies(normalisation="none")
    module.setup()
    assert (module.train_images == 1).all()


def test_base_class_reads_nothing():
    with pytest.raises(NotImplementedError, match=r"ImageDataModule must implement read\(\)"):
        ImageDataModule().setup()


class _TwoKinds(ImageDataModule):
    """Training images of three channels, test images of one."""

    name = "two kinds"

    def read(self):
        classes = torch.arange(4)
        train = Split(torch.zeros(4, 3, 5, 5, dtype=torch.uint8), classes)
        return Source(train, Split(train.images[:, :1], classes), tuple("abcd"), white=255)


def test_splits_of_different_channels_are_refused():
    with pytest.raises(DataError, match="training images of 3 channels and test images of 1"):
        _TwoKinds().setup()
