"""D, G and R at any layer of a net: named modules by forward hooks, the layers of an FCN by its weights."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError, ConstantLayerWarning
from diffstab.nets import FCN
from diffstab.stability.measures import Stability, check_outputs, flat_outputs
from diffstab.stability.predictors import evaluation_mode, tell_if_unsteady
from diffstab.stability.probes import Probes
from diffstab.stability.sums import StabilitySums, joined_sums, stability_sums

Record = Callable[[Tensor], Mapping[str, Tensor]]

_TRIAL_IMAGES = 5  # enough to see which axis of a layer runs over the images
_SAME = (
    0.05  # relative to the layer's root mean square: half precision rounds to less, another order is off by 1
)


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
    modules = dict(net.named_modules(remove_duplicate=False))
    for name in names:
        if name not in modules:
            known = ", ".join(repr(known) for known in modules)
            raise ArgumentError("names", f"be among the modules {known}", repr(name))
    shared = Counter(id(modules[name]) for name in dict.fromkeys(names))
    twice = [name for name in names if shared[id(modules[name])] > 1]
    if twice:
        way_out = "They are one module: its runs are told apart as name#1, name#2."
        raise ArgumentError("names", "be different modules", " and ".join(map(repr, twice)), way_out)
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
    net: nn.Module, probes: Probes, layers: Sequence[str] | Record, *, batch_size: int = 1024
) -> dict[str, Stability]:
    """D, G and R of each layer's output, in one pass and without keeping the activations.

    Args:
        net: Evaluated in eval mode, without gradients, on copies of the images; put back into its modes.
        probes: From `draw_pairs`.
        layers: Names as in `net.named_modules()`, or a callable on images like `fcn_layer_outputs(net)`.
        batch_size: Images per call of the net, >= 1.

    Returns:
        The numbers by name; NaN for a layer that is constant on the images. A module that runs several times is there
        as "name#1", "name#2" and so on.

    Raises:
        ArgumentError: As `layer_outputs` and `stability`; a layer without an axis over the images.

    Warns:
        ConstantLayerWarning: Names the layers that are constant on the images.
        UnsteadyPredictorWarning: A layer changes between two calls, or with the other images of the batch.

    Convention:
        Images may lie along any one axis of a layer's output, or in equal parts along it (windows, patches): the axis
        is the one that grows with the number of images, found on a few of them before measuring.
    """
    if batch_size < 1:
        raise ArgumentError("batch_size", "be >= 1", batch_size)
    record = _on_copies(layers if callable(layers) else layer_outputs(net, layers))
    with evaluation_mode((net, layers)), torch.no_grad():
        trial = _Trial.run(record, probes.clean, batch_size=batch_size)
        parts: defaultdict[str, list[StabilitySums]] = defaultdict(list)
        for start in range(0, len(probes.clean), batch_size):
            part = slice(start, start + batch_size)
            clean = trial.by_images(record, probes.clean[part])
            deformed, noisy = (
                [trial.by_images(record, field[part]) for field in fields]
                for fields in (probes.deformed, probes.noisy)
            )
            for name in clean:
                shift = parts[name][0].shift if parts[name] else None
                changed = [torch.stack([outputs[name] for outputs in fields]) for fields in (deformed, noisy)]
                parts[name].append(_named_sums(name, clean[name], *changed, shift=shift))
        sums = {name: joined_sums(several) for name, several in parts.items()}
        trial.tell_if_unsteady(record, probes.clean, sums)
    return _numbers(sums)


class _Axis(NamedTuple):
    """Where the images are in an output: in `parts` equal parts along an axis, one after another."""

    axis: int
    parts: int

    def first(self, output: Tensor, images: int) -> Tensor:
        """The output with its images first, (images, ...)."""
        moved = output.movedim(self.axis, 0)
        return moved.reshape(images, self.parts, *moved.shape[1:]) if self.parts > 1 else moved


class _Trial(NamedTuple):
    """Outputs of the layers on n images and on the first m of them, and the axes that follow."""

    many: Mapping[str, Tensor]
    few: Mapping[str, Tensor]
    images: int
    axes: dict[str, _Axis]

    @classmethod
    def run(cls, record: Record, images: Tensor, *, batch_size: int) -> "_Trial":
        count = min(len(images), _TRIAL_IMAGES, max(2, batch_size))
        fewer = max(1, count // 2)
        many, few = record(images[:count]), record(images[:fewer])
        axes = {name: _image_axis(name, many[name], few.get(name), count, fewer) for name in many}
        return cls(many, few, fewer, axes)

    def by_images(self, record: Record, images: Tensor) -> dict[str, Tensor]:
        """Outputs with their images first."""
        outputs = record(images)
        if outputs.keys() != self.axes.keys():
            received = f"{sorted(outputs)} instead of {sorted(self.axes)}"
            raise ArgumentError("layers", "be the same, and run as often, on every batch", received)
        for name, (axis, parts) in self.axes.items():
            if outputs[name].ndim <= axis or outputs[name].shape[axis] != parts * len(images):
                condition = f"have {parts * len(images)} entries along axis {axis} for {len(images)} images"
                raise ArgumentError(f"output of {name!r}", condition, f"shape {tuple(outputs[name].shape)}")
        return {name: where.first(outputs[name], len(images)) for name, where in self.axes.items()}

    def tell_if_unsteady(self, record: Record, images: Tensor, sums: Mapping[str, StabilitySums]) -> None:
        for name, axis in self.axes.items():
            tell_if_unsteady(
                axis.first(self.many[name], self.many[name].shape[axis.axis] // axis.parts)[: self.images],
                axis.first(self.few[name], self.images),
                partial(self._once_more, record, images, name),
                smallest=float(sums[name].per_image[:, :2].mean(dim=0).min()),
                what=f"layer {name!r}",
            )

    def _once_more(self, record: Record, images: Tensor, name: str) -> Tensor:
        return self.axes[name].first(record(images[: self.images])[name], self.images)


def _image_axis(name: str, many: Tensor, few: Tensor | None, count: int, fewer: int) -> _Axis:
    """Find the axis of an output that runs over the images, from outputs on `count` and on `fewer` of them."""
    if few is not None and many.ndim == few.ndim > 0:
        grown = [axis for axis in range(many.ndim) if many.shape[axis] != few.shape[axis]]
        axis = grown[0] if grown else 0
        parts, rest = divmod(many.shape[axis], count)
        if len(grown) == (count > fewer) and rest == 0 and few.shape[axis] == parts * fewer and parts > 0:
            where = _Axis(axis, parts)
            if where == (0, 1) or _agree(where.first(many, count)[:fewer], where.first(few, fewer)):
                return where
    shapes = (
        f"{tuple(many.shape)} for {count} images and {few if few is None else tuple(few.shape)} for {fewer}"
    )
    way_out = "Give layers as a callable that returns {name: output} with the images first."
    raise ArgumentError(f"output of {name!r}", "have one axis that runs over the images", shapes, way_out)


def _agree(first: Tensor, second: Tensor) -> bool:
    gap = torch.linalg.vector_norm(flat_outputs(first) - flat_outputs(second))
    return bool(gap <= _SAME * torch.linalg.vector_norm(flat_outputs(first)))


def _named_sums(name: str, *outputs: Tensor, shift: Tensor | None) -> StabilitySums:
    try:
        return stability_sums(*outputs, shift=shift)
    except ArgumentError:
        for output in outputs:  # by the name of the layer, where one of them is to blame
            check_outputs(output, argument=f"output of {name!r}")
        raise


def _numbers(sums: Mapping[str, StabilitySums]) -> dict[str, Stability]:
    constant = [name for name, of in sums.items() if of.images > 1 and not bool(of.denominator > 0)]
    if constant:
        names = ", ".join(map(repr, constant))
        message = f"Constant on these images, so that D, G and R are undefined (0 / 0): {names}."
        warnings.warn(message, ConstantLayerWarning, stacklevel=3)
    return {name: of.ratios() if name in constant else of.stability() for name, of in sums.items()}


def _on_copies(record: Record) -> Record:
    """The same on a copy of the images, giving copies: a net may change its input, or return the same buffer again."""
    return lambda images: {name: output.clone() for name, output in record(images.detach().clone()).items()}


def _run_fcn(net: FCN, images: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    a, last = net.flatten(images), len(net.scales)
    for layer, (weight, scale) in enumerate(zip(net.weights, net.scales, strict=True), start=1):
        z = a * scale @ weight.T
        a = z if layer == last else net.activation(z)
        outputs["output" if layer == last else f"hidden_{layer}"] = a
    return outputs


def _run_and_record(net: nn.Module, modules: dict[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    recorded: defaultdict[str, list[Tensor]] = defaultdict(list)
    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_hook(partial(_record, recorded, name))
            stack.callback(handle.remove)
        net(images)
    outputs: dict[str, Tensor] = {}
    for name in modules:
        if not recorded[name]:
            raise ArgumentError("names", "be modules that the net runs", repr(name))
        several = len(recorded[name]) > 1
        outputs |= {f"{name}#{i}" if several else name: run for i, run in enumerate(recorded[name], start=1)}
    return outputs


def _record(
    recorded: defaultdict[str, list[Tensor]], name: str, module: nn.Module, inputs: object, output: object
) -> None:
    if not isinstance(output, Tensor):
        way_out = "Give layers as a callable that returns {name: output}."
        raise ArgumentError(f"output of {name!r}", "be a tensor", type(output).__name__, way_out)
    recorded[name].append(output.clone())
