"""D, G and R at any layer of a net, from forward hooks."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.stability.estimate import Probes, evaluation_mode
from diffstab.stability.measures import Stability


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


def layer_stability(
    net: nn.Module, probes: Probes, names: Sequence[str], *, batch_size: int = 1024
) -> dict[str, Stability]:
    """D, G and R of each named module's output, in one pass and without keeping the activations.

    Args:
        net: Evaluated in eval mode, without gradients; put back into its modes.
        probes: From `draw_pairs`.
        names: Names as in `net.named_modules()`.
        batch_size: Images per call of the net, >= 1.

    Raises:
        ArgumentError: As `layer_outputs` and `stability`.
        DegenerateError: A layer is constant on the images.
    """
    from diffstab.stability.metric import RelativeStability  # imports torchmetrics, which takes seconds

    if batch_size < 1:
        raise ArgumentError("batch_size", "be >= 1", batch_size)
    record = layer_outputs(net, names)
    metrics = {name: RelativeStability(sync_on_compute=False) for name in names}
    with evaluation_mode(net), torch.no_grad():
        for start in range(0, len(probes.clean), batch_size):
            part = slice(start, start + batch_size)
            clean = record(probes.clean[part])
            deformed = [record(field[part]) for field in probes.deformed]
            noisy = [record(field[part]) for field in probes.noisy]
            for name, metric in metrics.items():
                metric.update(
                    clean[name],
                    torch.stack([outputs[name] for outputs in deformed]),
                    torch.stack([outputs[name] for outputs in noisy]),
                )
    return {name: metric.compute() for name, metric in metrics.items()}


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
