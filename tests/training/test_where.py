"""The device that options of Lightning name."""

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.training.devices import Devices, told_in_a_line


def test_the_cpu_is_the_cpu():
    assert Devices().place() == Devices("cpu", "1").place() == torch.device("cpu")


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (Devices("gpuu"), "trainer must fit this machine and itself, got .*gpuu"),
        (Devices("cpu", 2), "devices must be one for each run, got 2"),
        (Devices("cpu", [0, 1]), "devices must be one for each run|trainer must fit this machine"),
    ],
)
def test_what_this_machine_has_not_is_refused(devices, message):
    with pytest.raises(ArgumentError, match=message):
        devices.place()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ArgumentError, match=r"trainer must fit this machine and itself, got .*cuda|gpu|CUDA"):
        Devices("gpu").place()


def test_double_precision_is_not_asked_of_mps(monkeypatch):
    class Fabric:
        device, world_size = torch.device("mps"), 1

        def __init__(self, **options):
            pass

    monkeypatch.setattr("lightning_fabric.Fabric", Fabric)
    assert Devices("mps").place(torch.float32) == torch.device("mps")
    with pytest.raises(ArgumentError, match=r"accelerator must know float64.*got mps"):
        Devices("mps").place()


def test_an_error_of_another_kind_is_left_alone():
    with pytest.raises(KeyError), told_in_a_line(ValueError):
        raise KeyError("x")
