"""The one object that turns a net into a predictor: scaled by alpha and centred at initialisation."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError


class CentredOutput(nn.Module):
    r"""Predictor F(x) = alpha (f(x) - xi f_0(x)), f_0 the net as it was when this object was made.

    alpha -> 0 is the feature regime, alpha -> infinity the lazy one (Chizat et al. 2019); xi = 1 centres the
    output at initialisation, xi = 0 does not. Loss, accuracy and stability are all measured on this object.

    Args:
        net: Net to train; its initial copy is frozen and travels in the state dict.
        alpha: Output scale, > 0.
        xi: Share of the initial output that is taken off, in [0, 1].

    Raises:
        ArgumentError: If alpha or xi is out of range, or alpha is so large that rounding of f - f_0 in the
            net's floating type would reach 1e-3 of the output.
    """

    def __init__(self, net: nn.Module, *, alpha: float = 1.0, xi: float = 1.0) -> None:
        super().__init__()
        if not (alpha > 0 and math.isfinite(alpha)):
            raise ArgumentError("alpha", "be positive and finite", alpha)
        if not 0 <= xi <= 1:
            raise ArgumentError("xi", "lie in [0, 1]", xi)
        dtype = next(net.parameters()).dtype
        if xi > 0 and alpha * torch.finfo(dtype).eps > 1e-3:
            way_out = "Make the net float64, or use an exact kernel predictor for the lazy limit."
            raise ArgumentError("alpha", f"be resolved by the net's type {dtype}", alpha, way_out)
        self.net, self.alpha, self.xi = net, alpha, xi
        self.initial = copy.deepcopy(net).requires_grad_(False)

    @torch.no_grad()
    def start(self, x: Tensor) -> Tensor:
        """Return f_0 for inputs (n, ...), shape (n, out_features)."""
        output: Tensor = self.initial(x)
        return output

    @torch.no_grad()
    def fixed_start(self, x: Tensor, *, batch_size: int | None = None) -> Tensor | None:
        """Return f_0 of inputs that are met again and again, so that it is computed once.

        Args:
            x: Inputs (n, ...), on any device.
            batch_size: Inputs at once; None takes all.

        Returns:
            f_0 (n, out_features) where x lies; None where it hangs on more than the input (batch normalisation,
            dropout), or is not used (xi = 0).
        """
        if not self.xi or not len(x) or not self._is_fixed(x[:32]):
            return None
        device = next(self.initial.parameters()).device
        blocks = torch.split(x, batch_size or len(x))
        return torch.cat([self.start(block.to(device)).to(x.device) for block in blocks])

    def _is_fixed(self, x: Tensor) -> bool:
        """Whether f_0 of inputs is the same in other company and at another time; in doubt it is not."""
        if next(self.initial.buffers(), None) is not None:
            return False
        device = next(self.initial.parameters()).device
        draws = device.type != "cpu" and torch.get_device_module(device).is_available()
        with torch.random.fork_rng([device] if draws else [], device_type=device.type if draws else "cuda"):
            whole = self.start(x.to(device))
            parts = torch.cat([self.start(part.to(device)) for part in torch.split(x, max(1, len(x) // 2))])
        tolerance = max(1e-4, 10 * torch.finfo(whole.dtype).eps) * float(whole.abs().max())
        return bool((whole - parts).abs().max() <= tolerance)

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Return F for inputs (n, ...): shape (n,) for a net of one output, else (n, C).

        Args:
            x: Inputs.
            start: `self.start(x)` where the caller has it already, as in full-batch training.
        """
        output: Tensor = self.net(x)
        if self.xi:
            output = output - self.xi * (self.start(x) if start is None else start)
        output = self.alpha * output
        return output.squeeze(1) if output.shape[1] == 1 else output
