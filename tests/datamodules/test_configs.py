"""Every file of configs/data makes its data module."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

import datamodules

FOLDER = Path(__file__).parents[2] / "configs" / "data"
EXPECTED = {
    "digits": (datamodules.Digits, "digits", (1, 28, 28), 1200),
    "mnist": (datamodules.MNIST, "mnist", (1, 28, 28), 60_000),
    "fashion_mnist": (datamodules.FashionMNIST, "fashion_mnist", (1, 28, 28), 60_000),
    "cifar10": (datamodules.CIFAR10, "cifar10", (3, 32, 32), 50_000),
    "cifar10_jpeg": (datamodules.ImageFolder, "cifar10-jpeg", (3, 32, 32), 15_000),
}


def _instantiated(name, *arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(datamodules.ImageDataModule, "data")
    config = parser.parse_args(["--data", str(FOLDER / f"{name}.yaml"), *arguments])
    return parser.instantiate(config).data


def test_every_file_is_expected_here():
    assert {path.stem for path in FOLDER.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_file_makes_its_module_and_yields_to_the_command_line(name):
    arguments = ["--data.init_args.n_train", "64", "--data.seed", "3", "--data.size", "16"]
    module = _instantiated(name, *arguments)
    assert type(module) is EXPECTED[name][0]
    assert module.name == EXPECTED[name][1]
    assert (module.n_train, module.seed, module.size) == (64, 3, 16)
    assert (module.labels, module.normalisation) == ("parity", "sphere")


def test_digits_keep_their_default_size():
    assert _instantiated("digits").size == 28


def _check_data(name):
    _, _, shape, n_train = EXPECTED[name]
    module = _instantiated(name, "--data.normalisation", "none", "--data.n_train", "50")
    module.setup()
    assert module.image_shape == shape
    assert len(module.read().train.images) == n_train


def test_digits_are_ready():
    _check_data("digits")


# setup() alone downloads nothing.
@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10_jpeg"])
def test_real_data_are_ready(name, data_root):
    _check_data(name)
