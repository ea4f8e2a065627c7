"""What the layers of a net put out: named modules by forward hooks, the layers of an FCN by its weights."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from diffstab.nets import FCN
from diffstab.stability.tapped import TappedModel


def layer_outputs(net: nn.Module, names: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
    """A callable that runs the net on images and returns what the named modules put out.

    Args:
        net: Any module of one input; no hook stays on it between calls.
        names: Names as in `net.named_modules()`; "" is the net itself.

    Returns:
        Callable on images (n, ...) giving {name: output}, copies that later in-place layers do not change. A module
        that runs several times gives "name#1", "name#2" and so on.

    Raises:
        ArgumentError: No such module, or one module by two names; when called, a module that does not run or whose
            output is no tensor.
    """
    return TappedModel(net, names).copies


def fcn_layer_outputs(net: FCN) -> Callable[[Tensor], dict[str, Tensor]]:
    """A callable that gives every layer of a fully-connected net, whose layers are weights and not modules.

    Args:
        net: Any depth.

    Returns:
        Callable on images (n, ...) giving {"hidden_1": s(z_1), "hidden_2": s(z_2), ..., "output": f}, each of
        shape (n, width).
    """
    return partial(_run_fcn, net)


def _run_fcn(net: FCN, images: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    a, last = net.flatten(images), len(net.scales)
    for layer, (weight, scale) in enumerate(zip(net.weights, net.scales, strict=True), start=1):
        z = a * scale @ weight.T
        a = z if layer == last else net.activation(z)
        outputs["output" if layer == last else f"hidden_{layer}"] = a
    return outputs
