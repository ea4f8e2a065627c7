r"""Leaky ResNets with an L2 penalty, and the Hamiltonian that their layers keep.

With the leak rate L~ (the effective depth), L layers of step rho = 1 / L and representations A_l of shape (width, N),

    A_0 = W_in X,   A_{l+1} = A_l + rho (-L~ A_l + W_l [s(A_l); b 1^T]),   Z = W_out A_L,

minimise C(Z) + lambda (|W_in|^2 + |W_out|^2 + rho sum_l |W_l|^2). Let B_l = -(dC/dA_l) / (2 lambda) be the momenta. At
a stationary point W_l = B_{l+1} [s(A_l); b 1^T]^T, and A and B follow Hamilton's equations of

    H(A, B) = |B [s(A); b 1^T]^T|^2 / 2 - L~ <B, A>

by the symplectic Euler rule of step rho: H is the same in every layer but for a drift of order 1 / L.

Source: Jacot, Kaiser, "Hamiltonian mechanics of feature learning: bottleneck structure in leaky ResNets",
arXiv 2405.17573, in our normalisation; the learned W_in and W_out are ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.problem import L2Problem


class Motion(NamedTuple):
    """Representations and momenta of one net, layer by layer.

    Attributes:
        positions: A_0 ... A_L, shape (L + 1, width, N).
        momenta: B_0 ... B_L, shape (L + 1, width, N).
        hamiltonian: H(A_l, B_l), shape (L + 1,).
        stationarity: |gradient| / (|gradient of the cost| + 2 lambda |W|): 0 where H has a reason to be kept.
    """

    positions: Tensor
    momenta: Tensor
    hamiltonian: Tensor
    stationarity: float

    @property
    def drift(self) -> float:
        """(max H - min H) / |mean H| over the layers."""
        spread = self.hamiltonian.max() - self.hamiltonian.min()
        return float(spread / self.hamiltonian.mean().abs())


class LeakyNets:
    """Leaky ResNets of one problem and depth as one array (nets, parameters).

    The array holds W_in, sqrt(rho) W_1 ... sqrt(rho) W_L and W_out, so that the penalty is lambda times its square.

    Args:
        problem: Data, cost, penalty, bias and activation; its depth plays no part.
        layers: L.
        width: Of all layers.
        effective_depth: L~ >= 0; 0 is a ResNet without leak.
        flat: Shape (nets, parameters), or None for `draw` to fill.

    Raises:
        ArgumentError: If a number is out of range, or a step would more than undo a layer (L~ > L).
    """

    def __init__(
        self,
        problem: L2Problem,
        *,
        layers: int,
        width: int,
        effective_depth: float,
        flat: Tensor | None = None,
    ) -> None:
        if layers < 1 or width < 1:
            raise ArgumentError("layers and width", "be at least 1", (layers, width))
        if not 0 <= effective_depth <= layers:
            way_out = "Take more layers."
            raise ArgumentError("effective_depth", f"lie in [0, {layers}]", effective_depth, way_out)
        self.problem, self.layers, self.width = problem, layers, width
        self.effective_depth = effective_depth
        columns = width + int(problem.bias > 0)
        self.shapes = [(width, problem.inputs.shape[0]), (layers, width, columns), (problem.outputs, width)]
        self.flat = torch.empty(0) if flat is None else flat

    def draw(self, *, generator: torch.Generator, gain: float = 1.0) -> LeakyNets:
        """Fill the array with one net of independent Gaussian weights, of variance gain^2 / fan-in."""
        drawn = [
            gain / math.sqrt(shape[-1]) * torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in self.shapes
        ]
        drawn[1] = drawn[1] / math.sqrt(self.layers)
        self.flat = torch.cat([part.flatten() for part in drawn])[None].to(self.problem.inputs)
        return self

    def refined(self, layers: int) -> LeakyNets:
        """Return nets of another depth whose layer at a share of the depth has the weights of the layer there."""
        finer = LeakyNets(self.problem, layers=layers, width=self.width, effective_depth=self.effective_depth)
        first, middle, last = self.parts(self.flat)
        place = (torch.arange(layers) * self.layers).div(layers, rounding_mode="floor")
        steps = middle[:, place] * math.sqrt(self.layers / layers)
        finer.flat = torch.cat([part.flatten(1) for part in (first, steps, last)], dim=1)
        return finer

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Return W_in, sqrt(rho) W and W_out, each with a leading dimension of nets, as views."""
        split = torch.split(flat, [math.prod(shape) for shape in self.shapes], dim=-1)
        return [part.view(-1, *shape) for part, shape in zip(split, self.shapes, strict=True)]

    def positions(self, flat: Tensor, inputs: Tensor) -> list[Tensor]:
        """Return A_0 ... A_L, each (nets, width, N), at inputs (n_0, N)."""
        first, middle, _ = self.parts(flat)
        step, problem = 1 / self.layers, self.problem
        found = [first @ inputs]
        for layer in range(self.layers):
            pushed = middle[:, layer] @ problem.extended(problem.activate(found[-1]))
            found.append(found[-1] * (1 - step * self.effective_depth) + math.sqrt(step) * pushed)
        return found

    def outputs(self, flat: Tensor, inputs: Tensor) -> Tensor:
        """Return Z, shape (nets, outputs, N), at inputs (n_0, N)."""
        return self.parts(flat)[2] @ self.positions(flat, inputs)[-1]

    def evaluate(self, flat: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return cost (nets,), loss (nets,) and the gradient of the loss (nets, parameters)."""
        if shift is not None:
            raise ArgumentError("shift", "be None for a leaky ResNet", "a shift")
        cost, gradient, _, _ = self._backwards(flat)
        penalty = self.problem.penalty
        return cost, cost + penalty * flat.square().sum(1), gradient.add(flat, alpha=2 * penalty)

    def motion(self, index: int = 0) -> Motion:
        """Return representations, momenta and Hamiltonian of a net; the penalty must be positive."""
        flat, penalty = self.flat[index : index + 1], self.problem.penalty
        if penalty == 0:
            raise ArgumentError("penalty", "be positive: momenta are in its units", 0)
        _, gradient, positions, backs = self._backwards(flat)
        place = torch.cat(positions)
        momenta = torch.cat(backs) / (-2 * penalty)
        pushed = momenta @ self.problem.extended(self.problem.activate(place)).mT
        kinetic = pushed.square().sum((-2, -1)) / 2
        hamiltonian = kinetic - self.effective_depth * (momenta * place).sum((-2, -1))
        pull = 2 * penalty * flat
        stationarity = float((gradient + pull).norm() / (gradient.norm() + pull.norm()))
        return Motion(place, momenta, hamiltonian, stationarity)

    def _backwards(self, flat: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Return the cost, its gradient in the array, A_0 ... A_L and dC/dA_0 ... dC/dA_L."""
        problem, step = self.problem, 1 / self.layers
        _, middle, last = self.parts(flat)
        positions = self.positions(flat, problem.inputs)
        cost, back = problem.cost_and_gradient(last @ positions[-1])
        gradients = [back @ positions[-1].mT]
        backs = [last.mT @ back]
        middle_gradient = torch.empty_like(middle)
        for layer in range(self.layers - 1, -1, -1):
            place, above = positions[layer], backs[-1]
            extended = problem.extended(problem.activate(place))
            middle_gradient[:, layer] = math.sqrt(step) * (above @ extended.mT)
            through = problem.through_slope(middle[:, layer, :, : self.width].mT @ above, place)
            backs.append(above * (1 - step * self.effective_depth) + math.sqrt(step) * through)
        gradients = [backs[-1] @ problem.inputs.mT, middle_gradient, *gradients]
        flat_gradient = torch.cat([part.flatten(1) for part in gradients], dim=1)
        return cost, flat_gradient, positions, backs[::-1]
