r"""The gradient flow of the exact lazy limit: a linear predictor F = K a with the kernel of infinite width.

In the limit of infinite width and alpha the net's flow is dF/dt = -K l'(F) / n with the kernel at initialisation,
so F(x) = sum_i a_i K(x, x_i) with da/dt = -l'(F) / n: same loss and stop rule as the nets, nothing sampled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.nets import Loss
from diffstab.solvers.integrator import Cancellation, FlowSettings, integrate, start_counters
from diffstab.solvers.rosenbrock import GAMMA, stiff_factor
from diffstab.solvers.status import Status, check_batch, full_precision


class KernelFlow:
    """The flow of the dual coefficients (a `FlowProblem`).

    Args:
        gram: Kernel matrix of the training points, shape (n, n), float64.
        loss: A binary loss.
        y: Targets (n,).

    Raises:
        ArgumentError: If the shapes do not fit or a value is not finite.
    """

    def __init__(self, gram: Tensor, loss: Loss, y: Tensor) -> None:
        if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
            raise ArgumentError("gram", "be a square matrix", tuple(gram.shape))
        check_batch(gram, y, loss=loss)
        self.gram, self.loss, self.targets = gram, loss, y.to(gram.dtype)
        self.state = torch.zeros_like(self.targets)
        self.origin = self.state

    def at(self, state: Tensor) -> Tensor:
        """Return F = K a."""
        return self.gram @ state

    def predictor(self, point: Tensor) -> Tensor:
        """Return F on the training set."""
        return point

    def within(self, point: Tensor, change: float) -> tuple[KernelFlow, Tensor]:
        """Return the flow and the point as they are: the matrix is not worth taking apart."""
        del change
        return self, point

    def rate(self, point: Tensor) -> Tensor:
        """Return da/dt = -l'(F) / n."""
        slope, _ = self.loss.slope_and_curvature(point, self.targets)
        return -slope / len(slope)

    def output_change(self, point: Tensor, direction: Tensor) -> Tensor:
        """Return K u; the predictor is linear."""
        del point
        return self.gram @ direction

    def cancellation(self, point: Tensor) -> Cancellation:
        """Return |dF/dt| and the size of |K| (|l'| + l'' (|K| |a| + |y|)) / n, and the terms of F.

        The coefficients of a singular kernel can run away for ever while F stands still: F decides.
        """
        slope, curvature = self.loss.slope_and_curvature(point, self.targets)
        sizes = self.gram.abs()
        terms = sizes @ self.state.abs() + self.targets.abs()
        gradient = (self.gram @ slope).norm() / len(slope)
        summed = (sizes @ (slope.abs() + curvature * terms)).norm() / len(slope)
        return Cancellation(float(gradient), float(summed), float(terms.max()))

    def stiff_solver(self, point: Tensor, step_size: float) -> Callable[[Tensor], Tensor]:
        """Return the solve with I + c diag(l'') K."""
        _, curvature = self.loss.slope_and_curvature(point, self.targets)
        root = (step_size * GAMMA / len(curvature) * curvature).sqrt()
        factor = stiff_factor(self.gram * root[:, None] * root)

        def solve(g: Tensor) -> Tensor:
            seen = root * (self.gram @ g)
            return g - root * torch.cholesky_solve(seen[:, None], factor).squeeze(1)

        return solve


@torch.no_grad()
def fit_kernel_flow(
    gram: Tensor, y: Tensor, *, loss: Loss, settings: FlowSettings | None = None
) -> tuple[Tensor, Status]:
    """Integrate the lazy flow to its stop rule.

    Args:
        gram: Kernel matrix (n, n), float64.
        y: Targets (n,): -1 / +1, or real for mse.
        loss: A binary loss; its alpha does not matter here.
        settings: Accuracy and stop rule.

    Returns:
        The dual coefficients a (n,), so that F(x) = sum_i a_i K(x, x_i), and the final status.
    """
    settings = settings or FlowSettings()
    with full_precision(gram):
        problem = KernelFlow(gram, loss, y)
        counters = start_counters(settings)
        status = integrate(problem, counters, settings=settings, steps=settings.stop.max_steps)
    return problem.state, status
