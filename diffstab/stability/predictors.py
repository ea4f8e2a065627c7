"""Call anybody's predictor: in eval mode, on copies, and told where its outputs are no function of one image."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError, UnsteadyPredictorWarning
from diffstab.stability.measures import flat_outputs
from diffstab.stability.reachable import reachable

Predictor = Callable[[Tensor], Tensor]

_AGAIN = 4  # images that are evaluated once more
_UNITS = 16  # batched kernels round differently by some units in the last place of the largest output
_NEGLIGIBLE = 1e-3  # share of the smallest mean squared change that another one may add to it unnoticed


@contextmanager
def evaluation_mode(predictor: object) -> Iterator[None]:
    """Eval mode for every module that the predictor reaches; modes and buffers are put back afterwards.

    Args:
        predictor: A module, or a callable that holds some: a lambda, a partial, a bound method, an object.
    """
    with evaluating(modules_of(predictor)):
        yield


def modules_of(predictor: object) -> list[nn.Module]:
    """Every module that a predictor reaches, those inside others too."""
    # A module that keeps others in a plain list does not know them: what it holds is searched too.
    return list({m: None for found in reachable(predictor, nn.Module) for m in found.modules()})


@contextmanager
def evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Eval mode for modules; modes and buffers are put back afterwards."""
    training = [module for module in modules if module.training]
    buffers = [
        _Buffer(module, name, buffer, buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
        for changed in _changed(buffers):
            changed.put_back()


class _Buffer(NamedTuple):
    module: nn.Module
    name: str
    buffer: Tensor
    copy: Tensor

    @property
    def replaced(self) -> bool:
        now = dict(self.module._buffers.items())  # TorchScript has no dictionary there
        return now.get(self.name) is not self.buffer or self.buffer.shape != self.copy.shape

    def put_back(self) -> None:
        self.module._buffers[self.name] = self.buffer
        with torch.no_grad():
            self.buffer.resize_(self.copy.shape).copy_(self.copy)


def _changed(buffers: Sequence[_Buffer]) -> list[_Buffer]:
    """Those that are not as they were; devices are asked once for all of their buffers."""
    replaced = [one for one in buffers if one.replaced]
    kept = [one for one in buffers if not one.replaced]
    differ = [(one.buffer != one.copy).any().view(1) for one in kept]
    devices = {flag.device for flag in differ}
    answers = {d: iter(torch.cat([f for f in differ if f.device == d]).tolist()) for d in devices}
    return replaced + [one for one, flag in zip(kept, differ, strict=True) if next(answers[flag.device])]


def batch_output(predictor: Predictor, batch: Tensor) -> Tensor:
    """Output of a predictor on a batch (n, ...): it gets a copy, and what it returns shares no memory with it.

    Raises:
        ArgumentError: No tensor (n, ...) comes back.
    """
    output = predictor(batch.detach().clone())
    if not isinstance(output, Tensor) or output.shape[:1] != batch.shape[:1]:
        received = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        condition = f"return a tensor ({len(batch)}, ...) for {len(batch)} images"
        raise ArgumentError("predictor", condition, received)
    # A copy: a predictor may return the same buffer at every call.
    return output.detach().clone()


def all_outputs(predictor: Predictor, images: Tensor, *, batch_size: int) -> Tensor:
    """Outputs (P, ...) of a predictor on images (P, ...), in batches."""
    return torch.cat([batch_output(predictor, batch) for batch in torch.split(images, batch_size)])


def images_again(batch: int) -> int:
    """How many images of a batch are evaluated once more: fewer than it holds, where it holds several."""
    return max(1, min(_AGAIN, batch // 2))


def tell_if_unsteady(
    outputs: Tensor,
    alone: Tensor,
    again: Callable[[], Tensor],
    *,
    smallest: float,
    what: str,
    consequence: str = "D, G and R contain that",
) -> None:
    """Warn if outputs change between two calls, or with the images beside them in the batch.

    They count as changed where that would add a thousandth or more to the smallest of D's and G's numerators, and
    it is more than the rounding of batched kernels, some units in the last place of the largest output.

    Args:
        outputs: On the first m images, from a larger batch, shape (m, ...).
        alone: On these m images alone.
        again: Evaluates them once more.
        smallest: The smaller mean squared change of the outputs, by deformation or noise.
        what: Name of what is called, for the warning.
        consequence: What that does to the result, for the warning.

    Warns:
        UnsteadyPredictorWarning: They change.
    """
    if not _differ(outputs, alone, smallest=smallest):
        return
    if _differ(alone, again(), smallest=smallest):
        reason, way_out = (
            "between two calls on the same images",
            "Is dropout, or another random draw, at work?",
        )
    else:
        reason = "with the other images of the batch"
        way_out = "Is something averaged over the batch? With batch_size=1 each image is alone."
    message = f"The output of {what} changes {reason}: {consequence}. {way_out}"
    warnings.warn(message, UnsteadyPredictorWarning, stacklevel=3)


def _differ(first: Tensor, second: Tensor, *, smallest: float) -> bool:
    if first.shape != second.shape:
        return True
    unit = torch.finfo(first.dtype).eps * float(first.abs().max())
    gap = (flat_outputs(first) - flat_outputs(second)).abs()
    beyond_rounding = float(gap.max()) > _UNITS * unit
    # Each of two outputs deviates by that much: their squared difference gains half of it on average, twice.
    return beyond_rounding and float(gap.square().sum(dim=1).mean()) > _NEGLIGIBLE * smallest
