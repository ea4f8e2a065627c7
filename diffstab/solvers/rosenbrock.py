r"""One step of a linearly implicit Runge-Kutta method of order 3 that tolerates an inexact Jacobian.

The tableau is ROS34PW2 of Rang and Angermann (BIT 45, 2005): a stiffly accurate W-method of four stages, order 3
(embedded order 2) whatever matrix stands in for the Jacobian. A gradient flow therefore keeps its order with the
Gauss-Newton part of the Hessian alone, which carries all of its stiffness.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

GAMMA = 4.3586652150845900e-01
_ALPHA = np.array(
    [
        [0, 0, 0, 0],
        [8.7173304301691801e-01, 0, 0, 0],
        [8.4457060015369423e-01, -1.1299064236484185e-01, 0, 0],
        [0, 0, 1, 0],
    ]
)
_GAMMAS = np.array(
    [
        [GAMMA, 0, 0, 0],
        [-8.7173304301691801e-01, GAMMA, 0, 0],
        [-9.0338057013044082e-01, 5.4180672388095326e-02, GAMMA, 0],
        [2.4212380706095346e-01, -1.2232505839045147e00, 5.4526025533510214e-01, GAMMA],
    ]
)
_WEIGHTS = np.array([2.4212380706095346e-01, -1.2232505839045147e00, 1.5452602553351020e00, GAMMA])
_EMBEDDED = np.array([3.7810903145819369e-01, -9.6042292212423178e-02, 0.5, 2.1793326075422950e-01])

# The usual change of variables u = Gamma k spares the products with the Jacobian (Hairer & Wanner II, IV.7).
_INVERSE = np.linalg.inv(_GAMMAS)
_STAGE = _ALPHA @ _INVERSE
_COUPLING = np.diag(1 / np.diag(_GAMMAS)) - _INVERSE
_UPDATE = _WEIGHTS @ _INVERSE
_ERROR = (_WEIGHTS - _EMBEDDED) @ _INVERSE
STAGES = len(_WEIGHTS)


def stiff_factor(stiffness: Tensor) -> Tensor:
    """Return the Cholesky factor of I + S for a positive semi-definite S (n, n), float64.

    The identity is raised to the rounding of S where that is more: in steps so long that 1 is lost in S, a singular S
    would have no factor. The method keeps its order with any matrix.
    """
    rounding = 4 * len(stiffness) * torch.finfo(stiffness.dtype).eps * stiffness.diagonal().max()
    matrix = stiffness.clone()
    matrix.diagonal().add_(rounding.clamp_min(1))
    factor: Tensor = torch.linalg.cholesky(matrix)
    return factor


@lru_cache
def _tableau(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the coefficients of stages, couplings and ends where the state lies; a device gets them once."""
    parts = _STAGE, _COUPLING, np.stack([_UPDATE, _ERROR])
    stage, coupling, ends = (torch.as_tensor(part, dtype=dtype, device=device) for part in parts)
    return stage, coupling, ends


class Increment(NamedTuple):
    """Change of the state over one step and the estimate of its error, both of the state's shape."""

    change: Tensor
    error: Tensor


def rosenbrock_step(
    state: Tensor,
    rate_here: Tensor,
    *,
    rate: Callable[[Tensor], Tensor],
    solve: Callable[[Tensor], Tensor],
    step_size: float,
) -> Increment:
    """Advance y' = rate(y) by one step.

    Args:
        state: y, shape (N,).
        rate_here: rate(y), shape (N,), already known to the caller.
        rate: The right-hand side.
        solve: g -> (I - step_size GAMMA A)^-1 g, where A approximates the Jacobian of the rate. It may write its
            answer into g.
        step_size: Step, > 0.

    Returns:
        The change of the state (order 3) and its difference to the embedded solution (order 2).
    """
    stages = state.new_empty(STAGES, len(state))
    stage, coupling, ends = _tableau(state.dtype, state.device)
    scale = step_size * GAMMA
    for i, right in enumerate(stages.unbind()):
        past = stages[:i].T
        if i:
            slope = rate(torch.addmv(state, past, stage[i, :i]))
            torch.addmv(slope, past, coupling[i, :i], beta=scale, alpha=GAMMA, out=right)
        else:
            torch.mul(rate_here, scale, out=right)
        right.copy_(solve(right))
    change, error = ends @ stages
    return Increment(change, error)
