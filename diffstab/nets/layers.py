"""The layers of any model: what they are, which of them are measured by default, and how they are named."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError

INPUT = ":input"
"""Ending of the name of what goes into a module, "fc:input", where no module puts that out."""

MOST_DEFAULTS = 12
"""Layers that are measured by default, at most."""

_SAMPLES = 64
"""Numbers of an output that are compared with those that go into the last linear layer."""

_TRUNK_SHARE = 0.9
"""Share of all weights from which on a module is the body of the model, and its parts are looked at."""


class CannotRunError(ArgumentError):
    """A model fails on the images of an example: they may be of another size or number of channels."""


@dataclass(frozen=True)
class LayerInfo:
    """A module of a model, as it ran on some images.

    Attributes:
        name: As in `named_modules()`; "" is the whole model. "fc:input" is what goes into the module fc.
        type: Name of its class.
        output_shape: Shape of its first output, images first; None where that is no tensor, or it did not run.
        runs: How often it ran.
        shares_with: Other names of the same module.
        is_default: Whether it is measured by default.
        why_not: Why it cannot be measured, or ""; the end of a sentence that begins with its name.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    runs: int
    shares_with: tuple[str, ...] = ()
    is_default: bool = False
    why_not: str = ""


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class; of a part of an exported program that of the class that it was."""
    exported = getattr(module, "type_name", None)
    name = exported() if callable(exported) else None
    return name.rpartition(".")[2] if isinstance(name, str) else type(module).__name__


def layer_table(
    model: nn.Module, example: Tensor, *, output: Callable[[Any], Tensor] | None = None
) -> list[LayerInfo]:
    """Run a model on a few images and list its modules, in the order of `named_modules()`, the whole model last.

    Mode, buffers' values, hooks and torch's global generator are as before afterwards.

    Args:
        model: Any module of one input.
        example: Preprocessed images (n, C, h, w), n >= 2.
        output: Picks the measured tensor from what the model returns.

    Raises:
        CannotRunError: If the model fails on the images.
        ArgumentError: If its output has no such part.
    """
    record = _record(model, example, output)
    chosen = set(_defaults(model, record))
    infos = [replace(info, is_default=info.name in chosen) for info in record.infos]
    inputs = [name for name in chosen if name.endswith(INPUT)]
    return [*infos[1:], *(_input_info(record, name) for name in inputs), infos[0]]


def default_layers(
    model: nn.Module, example: Tensor, *, output: Callable[[Any], Tensor] | None = None
) -> list[str]:
    """Return the layers that are measured by default, in the order in which they run, at most 12.

    They are the end of each stage (the last module before the number of pixels changes; in a net of equal blocks, as a
    transformer, the blocks), what goes into the last linear layer, and the output "". Of many stages some are left out,
    evenly.

    Args:
        model: Any module of one input.
        example: Preprocessed images (n, C, h, w), n >= 2.
        output: Picks the measured tensor from what the model returns.
    """
    return _defaults(model, _record(model, example, output))


def matching_layers(
    model: nn.Module,
    patterns: Sequence[str],
    *,
    example: Tensor | None = None,
    output: Callable[[Any], Tensor] | None = None,
) -> list[str]:
    """Return the names of the layers that match patterns, each once, in the order of `named_modules()`.

    Args:
        model: Any module of one input.
        patterns: As of file names: `layer*` is layer1 and layer1.0.conv1 too; "output" is the whole model's output,
            `fc:input` what goes into fc.
        example: Preprocessed images; with them, layers that cannot be measured are left out.
        output: Picks the measured tensor from what the model returns.

    Raises:
        ArgumentError: If a pattern matches nothing, or nothing that can be measured.
    """
    names = [name for name, _ in model.named_modules()]
    reasons: dict[str, str] = {}
    if example is not None:
        reasons = {info.name: info.why_not for info in _record(model, example, output).infos if info.why_not}
    chosen: set[str] = set()
    for pattern in patterns:
        matches = _matches(pattern, names)
        measurable = [name for name in matches if not reasons.get(name)]
        if not measurable:
            what = f"{matches[0]!r} {reasons[matches[0]]}" if matches else "no layer of that name"
            way_out = "`diffstab layers MODEL` lists them."
            raise ArgumentError(f"layers: {pattern!r}", "match a layer that can be measured", what, way_out)
        chosen.update(measurable)
    order = [*(name for base in names if base for name in (f"{base}{INPUT}", base)), ""]
    return [name for name in order if name in chosen]


def runs_apart(names: Sequence[str], model: nn.Module, example: Tensor) -> list[str]:
    """Return layers with name#1, name#2, ... in the place of one that runs several times.

    Args:
        names: Of layers, "" for the output.
        model: Any module of one input.
        example: Preprocessed images (n, C, h, w), n >= 2.
    """
    runs = {info.name: info.runs for info in _record(model, example, None).infos if info.name}
    counts = [runs.get(name.removesuffix(INPUT), 1) for name in names]
    return [
        f"{name}#{run}" if count > 1 else name
        for name, count in zip(names, counts, strict=True)
        for run in range(1, count + 1)
    ]


def _matches(pattern: str, names: list[str]) -> list[str]:
    if pattern == "output" and "output" not in names:
        return [""]
    if pattern.endswith(INPUT):
        base = pattern.removesuffix(INPUT)
        return [f"{name}{INPUT}" for name in names if name and fnmatchcase(name, base)]
    return [name for name in names if fnmatchcase(name, pattern)]


@dataclass
class _Event:
    """One run of a module, in the order in which they end."""

    name: str
    module: nn.Module
    shape: tuple[int, ...] | None
    sample: Tensor | None
    received: Tensor | None
    what: str


@dataclass
class _Record:
    images: int
    events: list[_Event] = field(default_factory=list)
    refused: ArgumentError | None = None
    infos: list[LayerInfo] = field(default_factory=list)

    def once(self, name: str) -> bool:
        """Whether a layer can be measured, and ran once."""
        return next((not info.why_not and info.runs == 1 for info in self.infos if info.name == name), False)


def _record(model: nn.Module, example: Tensor, output: Callable[[Any], Tensor] | None) -> _Record:
    if example.ndim < 2 or len(example) < 2:
        raise ArgumentError("example", "be at least 2 images (n, C, h, w)", tuple(example.shape))
    record = _Record(len(example))
    with ExitStack() as stack:
        stack.enter_context(_undisturbed(model))
        for name, module in model.named_modules():
            picked = output if not name else None
            handle = module.register_forward_hook(partial(_note, record, name, picked))
            stack.callback(handle.remove)
        try:
            model(example.detach().clone())
        # Anybody's model may fail in any way.
        except Exception as error:
            shape = " x ".join(map(str, example.shape[1:]))
            received = f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"
            way_out = "Give images of its size and channels (--input_size; to measure it, --size and --grey)."
            raise CannotRunError("model", f"run on images of {shape}", received, way_out) from error
    if record.refused is not None:
        raise record.refused
    record.infos = _infos(model, record)
    return record


def _note(
    record: _Record,
    name: str,
    picked: Callable[[Any], Tensor] | None,
    module: nn.Module,
    inputs: tuple[Any, ...],
    output: Any,
) -> None:
    value = output
    try:
        value = picked(output) if picked is not None else output
    except ArgumentError as error:  # not the model's fault: told after its run
        record.refused = error
    is_tensor = isinstance(value, Tensor)
    received = next((_sample(one) for one in inputs if isinstance(one, Tensor)), None)
    event = _Event(
        name,
        module,
        tuple(value.shape) if is_tensor else None,
        _sample(value) if is_tensor else None,
        received if class_name(module) == "Linear" else None,
        type(value).__name__,
    )
    record.events.append(event)


def _sample(value: Tensor) -> Tensor:
    """Return the number of entries of a tensor and some of them: two of the same entries in order have the same."""
    flat = value.detach().flatten()
    places = torch.linspace(0, max(flat.numel() - 1, 0), min(_SAMPLES, flat.numel())).long().to(flat.device)
    numbers = flat[places].to("cpu", torch.float64)
    return torch.cat([numbers.new_tensor([flat.numel()]), numbers])


def _infos(model: nn.Module, record: _Record) -> list[LayerInfo]:
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    runs = Counter(event.name for event in record.events)
    first = {event.name: event for event in reversed(record.events)}
    infos = []
    for module, (name, *others) in names.items():
        event = first.get(name)
        shape = None if event is None else event.shape
        reason = _why_not(event, record.images)
        infos.append(LayerInfo(name, class_name(module), shape, runs[name], tuple(others), why_not=reason))
    return infos


def _why_not(event: _Event | None, images: int) -> str:
    if event is None:
        return "does not run as a module"
    if event.shape is None:
        return f"puts out no tensor but {event.what}"
    if not event.shape or images not in event.shape:
        return f"puts out no axis of {images} images"
    return ""


def _defaults(model: nn.Module, record: _Record) -> list[str]:
    last = _into_last_linear(record)
    ends = [name for name in _stage_ends(model, record) if name not in ("", last)]
    room = MOST_DEFAULTS - 1 - bool(last)
    return [*_evenly(ends, room), *([last] if last else []), ""]


def _into_last_linear(record: _Record) -> str:
    """Return the name of what goes into the last linear layer: that of the module that puts it out, if there is one."""
    linear = [
        (place, event.received) for place, event in enumerate(record.events) if event.received is not None
    ]
    if not linear:
        return ""
    place, received = linear[-1]
    before = [event for event in record.events[:place] if record.once(event.name) and event.name]
    same = [
        event.name for event in before if event.sample is not None and torch.equal(event.sample, received)
    ]
    return same[-1] if same else f"{record.events[place].name}{INPUT}"


def _stage_ends(model: nn.Module, record: _Record) -> list[str]:
    trunk = [event for event in _trunk(model, record, "") if record.once(event.name)]
    sides = [(event, _sides(event.shape)) for event in trunk]
    spatial = [(event, side) for event, side in sides if side is not None]
    runs = [list(run) for _, run in itertools.groupby(spatial, key=lambda pair: pair[1])]
    ends = [run[-1][0].name for run in runs]
    blocks = _blocks(trunk)
    if len(ends) < 3 and len(blocks) > len(ends):
        return blocks
    return ends or _before_linear(trunk)


def _trunk(model: nn.Module, record: _Record, name: str) -> Iterator[_Event]:
    """Yield the runs of a module's parts; of one that holds several stages, or nearly all weights, its parts too."""
    everything = _weights(model)
    for event in _children(record, name):
        if _is_stack(_children(record, event.name)) or _weights(event.module) > _TRUNK_SHARE * everything:
            yield from _trunk(model, record, event.name)
        yield event


def _is_stack(parts: list[_Event]) -> bool:
    """Whether parts run one after another: through three sizes of images, or as three equal blocks of one size."""
    stages = {side for part in parts if (side := _sides(part.shape)) is not None}
    blocks = Counter(
        class_name(part.module) for part in parts if next(part.module.children(), None) is not None
    )
    return len(stages) >= 3 or (len(stages) < 2 and max(blocks.values(), default=0) >= 3)


def _children(record: _Record, name: str) -> list[_Event]:
    """Return the runs of modules right below one, passing over lists of modules, which do not run."""
    ran = {event.name for event in record.events}
    return [event for event in record.events if event.name and _parent(event.name, ran) == name]


def _parent(name: str, ran: set[str]) -> str:
    above = name.rpartition(".")[0]
    while above and above not in ran:
        above = above.rpartition(".")[0]
    return above


def _blocks(trunk: list[_Event]) -> list[str]:
    """Return the names of the most numerous equal blocks: of one class, with weights and parts of their own."""
    groups: dict[tuple[str, str], list[str]] = {}
    for event in trunk:
        if next(event.module.children(), None) is not None and _weights(event.module):
            groups.setdefault((event.name.rpartition(".")[0], class_name(event.module)), []).append(
                event.name
            )
    best = max(groups.values(), key=len, default=[])
    return best if len(best) > 1 else []


def _before_linear(trunk: list[_Event]) -> list[str]:
    """Return what goes from one linear layer into the next, for nets without pixels."""
    pairs = itertools.pairwise(event for event in trunk if not isinstance(event.module, nn.Flatten))
    return [before.name for before, after in pairs if class_name(after.module) == "Linear"]


def _sides(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return height and width, or the number of tokens; None for a single place and other shapes."""
    if shape is None or len(shape) not in (3, 4):
        return None
    last = len(shape) == 4 and shape[1] == shape[2] != shape[3]  # (n, h, w, C)
    sides = shape[1:3] if last else shape[2:] if len(shape) == 4 else shape[1:2]
    return sides if max(sides) > 1 else None


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _evenly(names: list[str], most: int) -> list[str]:
    """Return at most so many names, evenly, the last among them."""
    if len(names) <= most:
        return names
    return [names[(place + 1) * len(names) // most - 1] for place in range(most)]


def _input_info(record: _Record, name: str) -> LayerInfo:
    module = name.removesuffix(INPUT)
    event = next(event for event in record.events if event.name == module)
    count = 0 if event.received is None else int(event.received[0]) // record.images
    return LayerInfo(name, f"input of {class_name(event.module)}", (record.images, count), 1, is_default=True)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; modes, buffers and torch's generator are put back."""
    training = [module for module in model.modules() if module.training]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        for module in training:
            module.training = False
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
        for buffer, copy in buffers:
            if not torch.equal(buffer, copy):
                buffer.copy_(copy)
