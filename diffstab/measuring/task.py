"""A measurement as a LightningModule: `Trainer.test` runs it, on whatever devices and in whatever precision."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from diffstab.errors import ArgumentError, FoldingWarning, UnsteadyPredictorWarning
from diffstab.measuring.images import UNKNOWN, Gate, ImageBatch, ImageSet, NumberedImage, read_batch
from diffstab.measuring.settings import PassSettings
from diffstab.measuring.state import PassState, joined, save_state, with_more_fields
from diffstab.stability import LayerPass, StabilityReport
from diffstab.stability.draws import NumberedDraws
from diffstab.stability.growing import GrowingRows
from diffstab.stability.reports import report_of
from diffstab.streams import stream


class Subject(NamedTuple):
    """What is measured.

    Attributes:
        module: Takes preprocessed images (n, C, H, W).
        preprocessing: From images in [0, 1] to what the module takes; None for nothing.
        output: Part of what the module returns; None for all of it.
        name: Of the model.
        weights_hash: Hash of its weights; "" where it has none.
    """

    module: Any
    preprocessing: Callable[[Tensor], Tensor] | None = None
    output: Callable[[Any], Tensor] | None = None
    name: str = "model"
    weights_hash: str = ""


class Round(NamedTuple):
    """Images that are measured before the state is saved again.

    Attributes:
        numbers: (n,) which images.
        block: Number of the fields: each block draws anew on the same images.
    """

    numbers: Tensor
    block: int = 0


@dataclass(frozen=True)
class PassPlan:
    """What a pass does.

    Attributes:
        layers: Names of layers, the output under ""; name#1, name#2, ... for the runs of a module.
        deformations: As `LayerPass` takes them.
        rounds: Of images, in their order.
        settings: What is drawn and how much of it; `noise` as `LayerPass` takes it, `fields_per_image` in each block.
        floor: Whether what interpolation alone does is measured.
    """

    layers: tuple[str, ...]
    deformations: tuple[Any, ...]
    rounds: tuple[Round, ...]
    settings: PassSettings
    floor: bool = True

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the measured modules: of one that runs several times, the layers are name#1, name#2, ..."""
        return tuple(dict.fromkeys(re.sub(r"#\d+$", "", name) for name in self.layers))


class Serving(NamedTuple):
    """How images are served.

    Attributes:
        images: All of them.
        batch_size: Images in a batch.
        workers: Processes that read.
        pin: Whether batches go to a GPU.
        look: Images whose mean output all processes count outputs from.
    """

    images: ImageSet
    batch_size: int
    workers: int = 0
    pin: bool = False
    look: Tensor | None = None


class MeasureTask(LightningModule):
    """Measures a model on images, round after round; it brings its loaders along.

    After a round the processes put together what they have found; the first one saves it.

    Args:
        subject: What is measured.
        plan: How.
        serving: On what.
        path: File of the state.
        before: State that an earlier run has left.

    Raises:
        ArgumentError: When run, the output is no tensor with a row for each image.
    """

    def __init__(
        self,
        subject: Subject,
        plan: PassPlan,
        serving: Serving,
        *,
        path: Path,
        before: PassState | None = None,
    ) -> None:
        super().__init__()
        self.module = subject.module
        self.plan, self.path = plan, path
        self._subject, self._serving, self._before = subject, serving, before
        self._gate, self._current = Gate(), 0
        self._stack = ExitStack()
        self._pass: Any = None
        self._seen = GrowingRows()
        self._classes = 0
        self._told: dict[str, None] = {}

    def test_dataloader(self) -> list[DataLoader[NumberedImage]]:
        """Return a loader for each round; once the interval is narrow enough they serve no more."""
        images, batch_size, workers, pin, _ = self._serving
        options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "pin": pin}
        return [images.loader(one.numbers, gate=self._gate, **options) for one in self.plan.rounds]

    def on_test_start(self) -> None:
        """Begin with the first round."""
        self._begin()

    def test_step(self, batch: ImageBatch | str, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure a batch."""
        if dataloader_idx != self._current:
            self._end_rounds(dataloader_idx)
        if not self._gate.is_open:
            return
        read = read_batch(batch)
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", category=UnsteadyPredictorWarning)
            outputs = self._pass.update(read.images, read.numbers)
        self._note(caught)
        predicted = self._predicted(outputs, len(read))
        self._seen.add(torch.stack([read.numbers, read.labels, predicted], dim=1))

    def on_test_epoch_end(self) -> None:
        """Put the rest together."""
        self._end_rounds(len(self.plan.rounds))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as plain bytes: tensors in shared memory would take an open file each."""
        return _arrived, (pickle.dumps(self.__getstate__()),)

    def close(self) -> None:
        """Take the hooks off."""
        self._stack.close()

    def _note(self, caught: list[warnings.WarningMessage]) -> None:
        """Keep what stands beside the numbers: not all processes are heard. Other warnings are given."""
        for one in caught:
            if issubclass(one.category, UnsteadyPredictorWarning):
                self._told[str(one.message)] = None
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def _begin(self) -> None:
        plan = self.plan
        self._stack.close()
        self._seen = GrowingRows()
        block = plan.rounds[self._current].block if plan.rounds else 0
        self._pass = self._stack.enter_context(
            layer_pass(self._subject, plan, block=block, look=self._serving.look)
        )

    def _predicted(self, outputs: Any, count: int) -> Tensor:
        """Return the class of the largest output; `UNKNOWN` where outputs are no vectors of several entries."""
        if not isinstance(outputs, Tensor) or outputs.shape[:1] != (count,):
            received = (
                f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            )
            way_out = "--output names the part of it that is measured."
            raise ArgumentError("output", f"be a tensor ({count}, ...) for {count} images", received, way_out)
        self._classes = outputs.shape[1] if outputs.ndim == 2 and outputs.shape[1] > 1 else 0
        return outputs.argmax(dim=1).cpu() if self._classes else torch.full((count,), UNKNOWN)

    def _end_rounds(self, following: int) -> None:
        """End the rounds before one; a process without images in a round ends it with the others all the same."""
        for number in range(self._current, following):
            if not self._gate.is_open:
                return
            self._current = number
            self._end_round()
        self._current = following

    def _end_round(self) -> None:
        plan, number = self.plan, self._current
        is_last = number + 1 == len(plan.rounds)
        ends_block = is_last or plan.rounds[number + 1].block != plan.rounds[number].block
        found = joined(self._gathered())
        block = plan.rounds[number].block
        if block == 0:
            state = joined([self._before, found]) if self._before else found
        elif ends_block and self._before:
            state = with_more_fields(self._before, found)
        else:
            return  # a block of further fields counts once it is whole
        if self.global_rank == 0:
            save_state(state, self.path)
        if is_narrow(state, plan):
            self._gate.is_open = False
        elif ends_block and not is_last:
            self._before, self._current = state, number + 1
            self._begin()

    def _found(self) -> PassState | None:
        """Return what this process has found; None if it has seen no image."""
        if not len(self._seen):
            return None
        numbers, labels, predictions = self._seen.rows.unbind(dim=1)
        order = torch.argsort(numbers)
        fields = self.plan.settings.fields_per_image
        found = self._pass.result()
        return PassState(found, labels[order], predictions[order], self._classes, fields, tuple(self._told))

    def _gathered(self) -> list[PassState]:
        """Return what the processes have found; each of them calls it."""
        parts: list[PassState | None] = [self._found()]
        if self.trainer.world_size > 1:
            own, parts = parts[0], [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, own)
        return [part for part in parts if part is not None]


def _arrived(content: bytes) -> MeasureTask:
    """Return a task in a process that was started for it: what Lightning says there was said before."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")
    warnings.simplefilter("ignore", FoldingWarning)
    task = MeasureTask.__new__(MeasureTask)
    task.__dict__.update(pickle.loads(content))
    return task


def is_narrow(state: PassState, plan: PassPlan) -> bool:
    """Whether the interval of the output's R is as narrow as is asked for, under every deformation."""
    until = plan.settings.until
    if until is None or state.images < 2:
        return False
    for place in range(len(plan.deformations)):
        report = report_of_layer(state, plan, place, plan.layers[-1])
        width = (report.high.relative - report.low.relative) / (2 * report.estimate.relative)
        if not width <= until:
            return False
    return True


def report_of_layer(
    state: PassState, plan: PassPlan, place: int, layer: str, *, equivariant: bool = False
) -> StabilityReport:
    """Return D, G and R of a layer under a deformation with their intervals; NaN for a layer that is constant.

    Args:
        state: What was found.
        plan: How.
        place: Of the deformation.
        layer: Name of the layer.
        equivariant: Put E in the place of D.
    """
    sums = state.sums(place, layer)
    return report_of(
        sums.beside_moving() if equivariant else sums,
        state.found.draws[place].of_probes(),
        bootstrap=plan.settings.bootstrap,
        confidence=plan.settings.confidence,
        generator=stream(plan.settings.seed, "bootstrap of measured layers"),
    )


def layer_pass(subject: Subject, plan: PassPlan, *, block: int = 0, look: Tensor | None = None) -> LayerPass:
    """Return the pass of a block of fields; a context in which batches are measured.

    Args:
        subject: What is measured.
        plan: How.
        block: Number of the block: its fields are those from block * fields_per_image on.
        look: Images whose mean output outputs are counted from; None takes the first ones.
    """
    settings = plan.settings
    return LayerPass(
        subject.module,
        layers=plan.modules,
        deformations=plan.deformations,
        seed=settings.seed,
        noise=settings.noise,
        fields_per_image=settings.fields_per_image,
        preprocessing=subject.preprocessing,
        output=subject.output,
        floor=plan.floor,
        equivariant=settings.equivariant,
        first_field=block * settings.fields_per_image,
        look=look,
    )


def first_deformed(plan: PassPlan, images: Tensor, numbers: Tensor) -> Tensor:
    """Return images as the first field of the first deformation moves them in a pass.

    Args:
        plan: Of the pass.
        images: (n, C, H, W) in [0, 1].
        numbers: (n,) their places in the data set.
    """
    draws = NumberedDraws(plan.deformations[:1], seed=plan.settings.seed, noise=plan.settings.noise)
    return draws.draw(images, numbers).stack[1]
