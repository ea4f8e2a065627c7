import math

import pytest
import torch

from diffstab.solvers.rosenbrock import GAMMA, rosenbrock_step


def rate(y):
    """A nonlinear pair of equations that depends on both components."""
    return torch.stack([y[1] - y[0] ** 3, -(y[0] + y[0] * y[1])])


def jacobian(y):
    return torch.func.jacrev(rate)(y)


def integrate(steps, matrix):
    y = torch.tensor([1.0, 0.5], dtype=torch.float64)
    h = 1.0 / steps
    errors = []
    for _ in range(steps):
        system = torch.eye(2, dtype=torch.float64) - h * GAMMA * matrix(y)
        step = rosenbrock_step(
            y, rate(y), rate=rate, solve=lambda g, a=system: torch.linalg.solve(a, g), step_size=h
        )
        y = y + step.change
        errors.append(step.error.norm().item())
    return y, errors[0]


@pytest.mark.parametrize(
    "matrix",
    [jacobian, lambda _: torch.zeros(2, 2, dtype=torch.float64), lambda y: -torch.outer(y, y) - 1],
    ids=["right", "none", "wrong"],
)
def test_the_order_is_three_whatever_the_matrix(matrix):
    exact, _ = integrate(2000, jacobian)
    coarse, fine = (integrate(steps, matrix) for steps in (40, 80))
    ratio = (coarse[0] - exact).norm() / (fine[0] - exact).norm()
    assert math.log2(ratio) == pytest.approx(3, abs=0.35)
    # The estimate is the local error of order 2, which falls as h^3.
    assert math.log2(coarse[1] / fine[1]) == pytest.approx(3, abs=0.35)


def test_a_stiff_component_is_damped_in_one_step():
    stiffness = torch.tensor([1.0, 1e8], dtype=torch.float64)
    y = torch.ones(2, dtype=torch.float64)
    step = rosenbrock_step(
        y,
        -stiffness * y,
        rate=lambda state: -stiffness * state,
        solve=lambda g: g / (1 + 0.01 * GAMMA * stiffness),
        step_size=0.01,
    )
    end = y + step.change
    assert end[0].item() == pytest.approx(math.exp(-0.01), abs=1e-8)
    assert abs(end[1].item()) < 1e-4
