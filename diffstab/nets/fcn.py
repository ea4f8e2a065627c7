"""Fully-connected nets without biases, in the NTK or the mean-field scaling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets.activations import Activation
from diffstab.nets.tangent import Tangent, fcn_tangent

SCALINGS = ("ntk", "mean_field")


class FCN(nn.Module):
    r"""Fully-connected net of any depth, all weights N(0, 1) at initialisation, scales kept outside the weights.

    z_1 = W_1 x / sqrt(d), a_l = s(z_l), z_{l+1} = W_{l+1} a_l / sqrt(n_l), output f = W a / N with
    N = sqrt(H) in the NTK scaling and N = H in the mean-field one (H: width of the last hidden layer). With one
    hidden layer f(x) = 1/N sum_h w_h s(theta_h . x / sqrt(d)).

    Args:
        in_features: Number d of inputs.
        hidden: Widths of the hidden layers, at least one.
        out_features: Number of outputs.
        activation: "relu", or "softplus" normalised to unit second moment.
        beta: Sharpness of the softplus.
        scaling: "ntk" or "mean_field".
        generator: Source of the initial weights; None takes torch's global one.
        dtype: Floating type of the weights; None is torch's default.

    Raises:
        ArgumentError: If a size is below 1, or the activation or the scaling is unknown.

    Convention: relu is plain, its kernel carries the factor 1/2. Source: Petrini et al. 2022 (arXiv 2206.12314),
    section 2; the NTK parametrisation of Jacot et al. 2018.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int] = (1000,),
        *,
        out_features: int = 1,
        activation: str = "softplus",
        beta: float = 5.0,
        scaling: str = "ntk",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = [in_features, *hidden, out_features]
        if not hidden:
            raise ArgumentError("hidden", "name at least one hidden layer", list(hidden))
        if min(sizes) < 1:
            raise ArgumentError("layer sizes", "all be at least 1", sizes)
        if scaling not in SCALINGS:
            raise ArgumentError("scaling", f"be one of {', '.join(SCALINGS)}", repr(scaling))
        self.activation = Activation(activation, beta)
        self.scaling = scaling
        last = sizes[-2]
        self.scales = [1 / math.sqrt(size) for size in sizes[:-2]] + [
            1 / math.sqrt(last) if scaling == "ntk" else 1 / last
        ]
        device = None if generator is None else generator.device
        # Drawn in one type and converted: a seed gives the same net in every type.
        self.weights = nn.ParameterList(
            torch.randn(rows, columns, generator=generator, dtype=torch.float32, device=device).to(
                dtype or torch.get_default_dtype()
            )
            for columns, rows in itertools.pairwise(sizes)
        )

    @property
    def in_features(self) -> int:
        """Number of inputs d."""
        return int(self.weights[0].shape[1])

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        return int(self.weights[-1].shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_features) for inputs (n, ...), each flattened to d numbers."""
        a = self.flatten(x)
        for index, (weight, scale) in enumerate(zip(self.weights, self.scales)):
            a = (self.activation(a) if index else a) * scale @ weight.T
        return a

    @torch.no_grad()
    def tangent(self, x: Tensor) -> Tangent:
        """Return the tangent of a net of one output at inputs (n, ...); `.kernel()` is its empirical NTK.

        Raises:
            ArgumentError: If the net has several outputs.
        """
        if self.out_features != 1:
            raise ArgumentError("out_features", "be 1 for a tangent", self.out_features)
        weights = [weight.detach() for weight in self.weights]
        return fcn_tangent(weights, self.flatten(x), scales=self.scales, activation=self.activation)

    def flatten(self, x: Tensor) -> Tensor:
        """Return inputs (n, ...) as (n, d).

        Raises:
            ArgumentError: If they do not have d numbers each.
        """
        flat = x.flatten(1) if x.ndim > 1 else x[:, None]
        if flat.shape[1] != self.in_features:
            raise ArgumentError("x", f"have {self.in_features} numbers per sample", tuple(x.shape))
        return flat

    def extra_repr(self) -> str:
        """Describe the activation and the scaling in `repr`."""
        return f"activation={self.activation}, scaling={self.scaling!r}"
