import pytest
import torch
from torch.func import functional_call, jacrev

from diffstab.errors import ArgumentError
from diffstab.nets import FCN


def autograd_jacobian(net, x):
    """Jacobian (n, number of weights) by autograd, and nothing else."""
    parameters = {name: weight.detach() for name, weight in net.named_parameters()}
    parts = jacrev(lambda p: functional_call(net, p, (x,)).squeeze(1))(parameters)
    return torch.cat([part.flatten(1) for part in parts.values()], dim=1)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("hidden", [(6,), (5, 4), (4, 5, 3)], ids=len)
def test_products_with_the_jacobian_are_those_of_autograd(hidden, activation, generator):
    net = FCN(3, hidden, activation=activation, generator=generator, dtype=torch.float64)
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    jacobian = autograd_jacobian(net, x)
    tangent = net.tangent(x)
    torch.testing.assert_close(tangent.outputs, net(x).detach().squeeze(1))
    torch.testing.assert_close(tangent.kernel(), jacobian @ jacobian.T)
    torch.testing.assert_close(tangent.kernel_diagonal(), jacobian.square().sum(1))
    rows = torch.tensor([5, 2])
    torch.testing.assert_close(tangent.select(rows).kernel(tangent), jacobian[rows] @ jacobian.T)
    cotangent = torch.randn(7, generator=generator, dtype=torch.float64)
    pulled = torch.cat([part.flatten() for part in tangent.pull_back(cotangent)])
    torch.testing.assert_close(pulled, cotangent @ jacobian)
    directions = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in net.weights]
    flat = torch.cat([direction.flatten() for direction in directions])
    torch.testing.assert_close(tangent.push_forward(directions), jacobian @ flat)


def test_several_outputs_are_refused(generator):
    with pytest.raises(ArgumentError, match="out_features must be 1 for a tangent"):
        FCN(3, (4,), out_features=2, generator=generator).tangent(torch.zeros(2, 3))
