import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import make_loss
from diffstab.nets.losses import BINARY_LOSSES, widest_float

OUTPUTS = torch.tensor([-1.5, -0.2, 0.0, 0.9, 1.1, 4.0], dtype=torch.float64)
TARGETS = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("mse", lambda f, y: (y - f) ** 2 / 2),
        ("hinge", lambda f, y: max(0.0, 1 - y * f)),
        ("quadratic_hinge", lambda f, y: max(0.0, 1 - y * f) ** 2 / 2),
        ("soft_hinge", lambda f, y: math.log1p(math.exp(20 * (1 - y * f))) / 20),
    ],
)
def test_convention_loss_formulas(name, formula):
    expected = [formula(f, y) for f, y in zip(OUTPUTS.tolist(), TARGETS.tolist())]
    loss = make_loss(name, alpha=0.25)
    torch.testing.assert_close(loss.pointwise(OUTPUTS, TARGETS), torch.tensor(expected, dtype=torch.float64))
    assert loss(OUTPUTS, TARGETS).item() == pytest.approx(sum(expected) / 6 / 0.25)


@pytest.mark.parametrize("name", BINARY_LOSSES)
def test_slope_and_curvature_are_those_of_autograd(name):
    outputs = OUTPUTS.clone().requires_grad_()
    loss = make_loss(name)
    (slope,) = torch.autograd.grad(loss.pointwise(outputs, TARGETS).sum(), outputs, create_graph=True)
    curvature = torch.zeros_like(OUTPUTS)
    if slope.requires_grad:
        (curvature,) = torch.autograd.grad(slope.sum(), outputs)
    found = loss.slope_and_curvature(OUTPUTS, TARGETS)
    torch.testing.assert_close(found[0], slope.detach())
    # torch's softplus is linear beyond 20: it drops a curvature of 20 exp(-20).
    torch.testing.assert_close(found[1], curvature, rtol=1e-6, atol=21 * math.exp(-20))


def test_a_sharp_soft_hinge_is_the_hinge():
    sharp, hinge = make_loss("soft_hinge", beta=1e4), make_loss("hinge")
    torch.testing.assert_close(
        sharp.pointwise(OUTPUTS, TARGETS), hinge.pointwise(OUTPUTS, TARGETS), rtol=0, atol=math.log(2) / 1e4
    )


def test_cross_entropy_by_hand():
    outputs = torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0]])
    value = make_loss("cross_entropy", alpha=2.0)(outputs, torch.tensor([0, 1]))
    assert value.item() == pytest.approx((math.log(4) + math.log(2)) / 2 / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_loss("l2"), "loss must be one of mse, hinge"),
        (lambda: make_loss("mse", alpha=-1.0), "alpha must be positive and finite"),
        (lambda: make_loss("mse")(OUTPUTS[:, None], TARGETS), r"both have shape \(n,\).*cross_entropy"),
        (lambda: make_loss("cross_entropy")(OUTPUTS, TARGETS), r"have shapes \(n, C\) and \(n,\)"),
        (lambda: make_loss("cross_entropy").slope_and_curvature(OUTPUTS, TARGETS), "loss must be one of mse"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_convention_an_output_of_zero_is_an_error():
    binary = make_loss("mse").errors(torch.tensor([0.0, 1.0, -2.0, 0.5]), torch.tensor([1.0, 1.0, 1.0, -1.0]))
    assert binary.tolist() == [1.0, 0.0, 1.0, 1.0]
    classes = make_loss("cross_entropy").errors(torch.tensor([[0.0, 1.0], [3.0, 2.0]]), torch.tensor([1, 1]))
    assert classes.tolist() == [0.0, 1.0]


def test_regression_is_half_the_squared_distance():
    outputs, targets = torch.tensor([[0.0, 1.0], [3.0, 2.0]]), torch.tensor([[1.0, 1.0], [3.0, 5.0]])
    loss = make_loss("regression", alpha=0.5)
    assert loss.pointwise(outputs, targets).tolist() == [0.5, 4.5]
    assert loss(outputs, targets).item() == 5.0
    assert torch.equal(loss.pointwise(outputs[:, 0], targets[:, 0]), torch.tensor([0.5, 0.0]))
    with pytest.raises(ArgumentError, match="have one shape for regression"):
        loss.pointwise(outputs, targets[:, 0])


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float64), ("mps", torch.float32)])
def test_sums_are_kept_in_the_widest_type_of_a_device(device, dtype):
    assert widest_float(torch.device(device)) == dtype
