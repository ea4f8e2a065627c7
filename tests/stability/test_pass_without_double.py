"""A pass on a device that knows no float64, as Apple's MPS: the numbers of the CPU to single precision."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from diffstab.stability import LayerPass, diffeomorphism
from tests.references import elsewhere
from tests.references.elsewhere import Elsewhere, Far, moved

MPS = torch.device("mps", 0)


class WithoutDouble(Elsewhere):
    """Keeps tensors of two devices apart, and refuses float64 on the other one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            for leaf in tree_leaves(result):
                if isinstance(leaf, Far) and leaf.dtype == torch.float64:
                    raise TypeError(f"The MPS framework does not support float64: {func}")
        return result


@pytest.fixture
def mps(monkeypatch):
    monkeypatch.setattr(elsewhere, "DEVICE", MPS)
    monkeypatch.setitem(elsewhere.PROPERTIES, torch.Tensor.device.__get__, MPS)
    monkeypatch.setitem(elsewhere.PROPERTIES, torch.Tensor.is_cuda.__get__, False)


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)).eval()


def measured(model):
    images = torch.rand(80, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    options = {"deformations": [diffeomorphism(0.5)], "floor": True, "equivariant": True}
    with LayerPass(model, layers=["0", "2", ""], **options) as measuring:
        for numbers in torch.arange(80).split(16):
            measuring.update(images[numbers], numbers)
    return {name: [*one.ratios(), one.floor, one.equivariance] for (_, name), one in measuring.sums().items()}


@pytest.mark.usefixtures("mps")
def test_a_device_without_float64_gives_the_numbers_of_the_cpu():
    expected = measured(net())
    with WithoutDouble():
        model = moved(net())
        assert model[0].weight.device == MPS
        with pytest.raises(TypeError, match="does not support float64"):
            model[0].weight.double()
        found = measured(model)
    for name, values in expected.items():
        here = [float(value) for value in found[name]]
        assert here == pytest.approx([float(value) for value in values], rel=1e-4, nan_ok=True)
