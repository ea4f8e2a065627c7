"""Run a model and hand over what chosen layers put out, at once, by forward hooks that are gone afterwards."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets.layers import INPUT

Model = Callable[[Tensor], Any]
Pick = Callable[[Any], Tensor]
Receive = Callable[[str, int, Tensor], None]
"""Takes the name of a layer, which of its runs it is (from 1), and its output, before later layers can change it."""

Value = TypeVar("Value")

OUTPUT = ""
"""Name of the output of the whole model among its layers."""


class TappedModel:
    """A model with the layers to look at.

    Args:
        model: A module, or any callable on images; of the latter only the output can be looked at.
        layers: Names as in `model.named_modules()`; "" is the output of the model, "fc:input" the input of
            module "fc".
        output: Picks the tensor from what the model returns; or by name of the layer, from what layers return.

    Raises:
        ArgumentError: No such module, or one module by two names.
    """

    def __init__(
        self, model: Model, layers: Sequence[str], output: Pick | Mapping[str, Pick] | None = None
    ) -> None:
        self.model, self.layers = model, list(dict.fromkeys(layers))
        self._picks = dict(output) if isinstance(output, Mapping) else {OUTPUT: output} if output else {}
        known = dict(model.named_modules(remove_duplicate=False)) if isinstance(model, nn.Module) else {}
        self._check(known)
        self._modules = {name: known[name.removesuffix(INPUT)] for name in self.layers if name != OUTPUT}

    def run(self, images: Tensor, receive: Receive | None = None) -> Tensor:
        """Return the output of the model, having handed over what the layers put out.

        Raises:
            ArgumentError: The model or a layer returns no tensor.
        """
        if receive is None:
            return self._tensor(OUTPUT, self.model(images))
        counts: Counter[str] = Counter()
        with ExitStack() as stack:
            for name, module in self._modules.items():
                act = partial(self._take, receive, counts, name)
                if name.endswith(INPUT):
                    handle = module.register_forward_pre_hook(act, with_kwargs=True)
                else:
                    handle = module.register_forward_hook(act)
                stack.callback(handle.remove)
            raw = self.model(images)
        output = self._tensor(OUTPUT, raw)
        if OUTPUT in self.layers:
            receive(OUTPUT, 1, output)
        return output

    def copies(self, images: Tensor) -> dict[str, Tensor]:
        """Copies of what the layers put out; a layer that runs several times is there as name#1, name#2, ...

        Raises:
            ArgumentError: As `run`, or a layer does not run.
        """
        runs: dict[tuple[str, int], Tensor] = {}
        self.run(images, lambda name, run, output: runs.update({(name, run): output.detach().clone()}))
        return self.named(runs)

    def named(self, runs: Mapping[tuple[str, int], Value]) -> dict[str, Value]:
        """Values of (layer, run) by name, or by name#run where there are several, in the order of the layers."""
        counts = Counter(name for name, _ in runs)
        missing = [name for name in self.layers if not counts[name]]
        if missing:
            raise ArgumentError("layers", "be modules that the model runs", ", ".join(map(repr, missing)))
        order = {name: place for place, name in enumerate(self.layers)}
        return {
            run_name(name, run, counts[name]): runs[name, run]
            for name, run in sorted(runs, key=lambda key: (order[key[0]], key[1]))
        }

    def _take(self, receive: Receive, counts: Counter[str], name: str, *call: Any) -> None:
        counts[name] += 1
        value = _first_tensor(*call[1:]) if name.endswith(INPUT) else call[-1]
        receive(name, counts[name], self._tensor(name, value))

    def _tensor(self, name: str, raw: Any) -> Tensor:
        picked = self._picks[name](raw) if name in self._picks else raw
        if not isinstance(picked, Tensor):
            what = "output of the model" if name == OUTPUT else f"output of {name!r}"
            pick = (
                "output=lambda out: out[0]" if name == OUTPUT else f"output={{{name!r}: lambda out: out[0]}}"
            )
            raise ArgumentError(
                what, "be a tensor", type(picked).__name__, f"Say which part: {pick}, for example."
            )
        return picked

    def _check(self, known: Mapping[str, nn.Module]) -> None:
        inner = [name for name in self.layers if name != OUTPUT]
        for name in inner:
            if name.removesuffix(INPUT) not in known:
                names = ", ".join(repr(name) for name in known) or "(none: the model is no module)"
                raise ArgumentError("layers", f"be among the modules {names}", repr(name))
        which = {name: (id(known[name.removesuffix(INPUT)]), name.endswith(INPUT)) for name in inner}
        shared = Counter(which.values())
        twice = [name for name in inner if shared[which[name]] > 1]
        if twice:
            way_out = "They are one module: its runs are told apart as name#1, name#2."
            raise ArgumentError("layers", "be different modules", " and ".join(map(repr, twice)), way_out)
        unknown = [name for name in self._picks if name not in (OUTPUT, *inner)]
        if unknown:
            raise ArgumentError("output", "name layers that are measured", ", ".join(map(repr, unknown)))


class TappedCallable(TappedModel):
    """A callable that gives its layers itself, {name: output}, as `fcn_layer_outputs`; the last is the output."""

    def __init__(self, record: Callable[[Tensor], Mapping[str, Tensor]]) -> None:
        super().__init__(record, [])

    def run(self, images: Tensor, receive: Receive | None = None) -> Tensor:
        """Return the last layer, having handed over all."""
        outputs = self.model(images)
        for name, output in outputs.items():
            tensor = self._tensor(name, output)
            if receive is not None:
                receive(name, 1, tensor)
        self.layers = list(outputs)
        return self._tensor(self.layers[-1], outputs[self.layers[-1]])


def _first_tensor(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The first tensor that a module is called with; else the first input, whatever it is."""
    values = [*inputs, *named.values()]
    return next((value for value in values if isinstance(value, Tensor)), values[0] if values else None)


def run_name(name: str, run: int, runs: int) -> str:
    """Name of one of the runs of a layer."""
    return f"{name}#{run}" if runs > 1 else name


def computing_dtype(modules: Sequence[nn.Module]) -> torch.dtype | None:
    """The floating type of the parameters of modules, None for several or none."""
    kinds = {p.dtype for module in modules for p in module.parameters(recurse=False) if p.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else None


def device_of(modules: Sequence[nn.Module], otherwise: torch.device) -> torch.device:
    """The device of the parameters or buffers of modules, or another one if they have none."""
    for module in modules:
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            return tensor.device
    return otherwise
