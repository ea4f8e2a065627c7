"""D, G and R at any layer of a net: named modules by forward hooks, the layers of an FCN by its weights."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets import FCN
from diffstab.stability.estimate import Probes, evaluation_mode
from diffstab.stability.measures import Stability
from diffstab.stability.sums import StabilitySums, joined_sums, stability_sums


def layer_outputs(net: nn.Module, names: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
    """A callable that runs the net on images and returns what the named modules put out.

    Args:
        net: Any module of one input; no hook stays on it between calls.
        names: Names as in `net.named_modules()`; "" is the net itself.

    Returns:
        Callable on images (n, ...) giving {name: output}, copies that later in-place layers do not change.
        Of a module that runs several times, the last output.

    Raises:
        ArgumentError: No such module; when called, a module that does not run or whose output is no tensor.
    """
    modules = dict(net.named_modules())
    for name in names:
        if name not in modules:
            known = ", ".join(repr(known) for known in modules)
            raise ArgumentError("names", f"be among the modules {known}", repr(name))
    return partial(_run_and_record, net, {name: modules[name] for name in names})


def fcn_layer_outputs(net: FCN) -> Callable[[Tensor], dict[str, Tensor]]:
    """A callable that gives every layer of a fully-connected net, whose layers are weights and not modules.

    Args:
        net: Any depth.

    Returns:
        Callable on images (n, ...) giving {"hidden_1": s(z_1), "hidden_2": s(z_2), ..., "output": f}, each of
        shape (n, width).
    """
    return partial(_run_fcn, net)


def layer_stability(
    net: nn.Module,
    probes: Probes,
    layers: Sequence[str] | Callable[[Tensor], dict[str, Tensor]],
    *,
    batch_size: int = 1024,
) -> dict[str, Stability]:
    """D, G and R of each layer's output, in one pass and without keeping the activations.

    Args:
        net: Evaluated in eval mode, without gradients; put back into its modes.
        probes: From `draw_pairs`.
        layers: Names as in `net.named_modules()`, or a callable on images like `fcn_layer_outputs(net)`.
        batch_size: Images per call of the net, >= 1.

    Raises:
        ArgumentError: As `layer_outputs` and `stability`.
        DegenerateError: A layer is constant on the images.
    """
    if batch_size < 1:
        raise ArgumentError("batch_size", "be >= 1", batch_size)
    record = layers if callable(layers) else layer_outputs(net, layers)
    parts: defaultdict[str, list[StabilitySums]] = defaultdict(list)
    with evaluation_mode(net), torch.no_grad():
        for start in range(0, len(probes.clean), batch_size):
            part = slice(start, start + batch_size)
            deformed = [record(field[part]) for field in probes.deformed]
            noisy = [record(field[part]) for field in probes.noisy]
            for name, clean in record(probes.clean[part]).items():
                changed = [torch.stack([outputs[name] for outputs in fields]) for fields in (deformed, noisy)]
                shift = parts[name][0].shift if parts[name] else None
                parts[name].append(stability_sums(clean, *changed, shift=shift))
    return {name: joined_sums(sums).stability() for name, sums in parts.items()}


def _run_fcn(net: FCN, images: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    a, last = net.flatten(images), len(net.scales)
    for layer, (weight, scale) in enumerate(zip(net.weights, net.scales, strict=True), start=1):
        z = a * scale @ weight.T
        a = z if layer == last else net.activation(z)
        outputs["output" if layer == last else f"hidden_{layer}"] = a
    return outputs


def _run_and_record(net: nn.Module, modules: dict[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    recorded: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(partial(_record, recorded, name)) for name, module in modules.items()
    ]
    try:
        net(images)
    finally:
        for handle in handles:
            handle.remove()
    for name in modules:
        if name not in recorded:
            raise ArgumentError("names", "be modules that the net runs", repr(name))
    return {name: recorded[name] for name in modules}


def _record(
    recorded: dict[str, Tensor], name: str, module: nn.Module, inputs: object, output: object
) -> None:
    if not isinstance(output, Tensor):
        raise ArgumentError(f"output of {name!r}", "be a tensor", type(output).__name__)
    recorded[name] = output.clone()
