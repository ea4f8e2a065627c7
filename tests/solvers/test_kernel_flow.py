import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels import ntk
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.kernel_flow import fit_kernel_flow


def data(generator, n=20, d=6):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, torch.sign(x[:, 0] + 0.3 * torch.randn(n, generator=generator, dtype=torch.float64))


def test_the_coefficients_are_those_of_many_explicit_steps(generator):
    x, y = data(generator)
    gram = ntk(x)
    dual, status = fit_kernel_flow(
        gram, y, loss=make_loss("soft_hinge"), settings=FlowSettings(1e-6, 1e-6, 1e-6)
    )
    explicit, steps = torch.zeros_like(y), 20_000
    for _ in range(steps):
        rise = torch.sigmoid(20 * (1 - y * (gram @ explicit)))
        explicit += status.time / steps * y * rise / len(y)
    assert status.reason == "margin"
    torch.testing.assert_close(gram @ dual, gram @ explicit, rtol=0, atol=2e-3)


def test_a_wide_net_at_large_alpha_follows_it(generator):
    x, y = data(generator)
    probe, _ = data(generator, n=100)
    loss = make_loss("soft_hinge")
    dual, status = fit_kernel_flow(ntk(x), y, loss=loss)
    model = CentredOutput(
        FCN(6, (20_000,), activation="relu", generator=generator, dtype=torch.float64), alpha=1e5
    )
    finite = GradientFlow(model, make_loss("soft_hinge", alpha=1e5)).run(x, y)
    expected = ntk(probe, x) @ dual
    # The loss over alpha makes the net's clock run alpha times faster. The kernel of 20,000 neurons fluctuates
    # by about 1%.
    assert finite.time * 1e5 == pytest.approx(status.time, rel=0.05)
    assert (model(probe).detach() - expected).norm() < 0.06 * expected.norm()


def test_a_gram_matrix_is_needed(generator):
    with pytest.raises(ArgumentError, match="gram must be a square matrix"):
        fit_kernel_flow(torch.ones(3, 2, dtype=torch.float64), torch.ones(3), loss=make_loss("mse"))
    with pytest.raises(ArgumentError, match="x must be finite"):
        fit_kernel_flow(torch.full((3, 3), torch.nan), torch.ones(3), loss=make_loss("mse"))


@pytest.mark.parametrize("loss", ["mse", "quadratic_hinge"])
def test_a_singular_kernel_with_contradicting_labels_is_stalled(loss, generator):
    x, y = data(generator)
    x[1], y[0], y[1] = x[0], 1, -1
    dual, status = fit_kernel_flow(ntk(x), y, loss=make_loss(loss))
    assert status.reason == "stalled"
    assert status.steps < 500
    assert status.loss == pytest.approx(1 / len(y), rel=1e-3)
    assert (ntk(x) @ dual)[0].item() == pytest.approx(0, abs=1e-3)
