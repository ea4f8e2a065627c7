"""The one measuring path: any model, any of its layers, images in batches and memory for one of them.

Each batch is run once as [x; tau x; x + eta], with a pair of versions for each deformation and field. Hooks reduce what
a layer puts out at once to sums; nothing else is kept. What is drawn for an image depends on the seed and its number.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from diffstab.diffeo.precision import working_dtype
from diffstab.errors import ArgumentError
from diffstab.stability.deformation import Deformation
from diffstab.stability.draws import AnyDeformation, DrawSummary, NumberedDraws, Versions, checked_numbers
from diffstab.stability.layer_sums import LayerSums
from diffstab.stability.noise import NoiseKind
from diffstab.stability.pass_parts import NAMED, PassParts
from diffstab.stability.pass_sums import LayerKey, PassSums
from diffstab.stability.predictors import evaluating, modules_of
from diffstab.stability.sums import StabilitySums
from diffstab.stability.tapped import (
    OUTPUT,
    Model,
    Pick,
    TappedCallable,
    TappedModel,
    computing_dtype,
    device_of,
)
from diffstab.stability.trial import Trial

FIRST_LOOK = 64
"""Images whose mean output is what outputs are counted from: the same ones for every batch size."""


class LayerPass:
    """Sums for D, G and R of layers of a model, over images that come in batches.

        with LayerPass(model, layers=["layer1", "fc"], deformations=[diffeomorphism(1.0, 3)]) as measuring:
            for number, images in enumerate(batches):
                outputs = measuring.update(images, torch.arange(64 * number, 64 * number + len(images)))
        sums = measuring.sums()[0, "fc"].stability()

    Batch sizes, order, workers, processes and devices change no number beyond rounding. The model is evaluated in eval
    mode, without gradients, on copies; modes, buffers, hooks and the global generators are as before after each
    `update`, also after an exception. The first images (`FIRST_LOOK`, or all if there are fewer) wait until they are
    all there: do not change the model before leaving the `with` block or asking for the sums.

    Args:
        model: A module, or any callable on images. Images are moved to its device, and to its number type after the
            preprocessing.
        layers: Names as in `model.named_modules()`, "" for the output of the model; of a module that runs several
            times every run is measured, as name#1, name#2. Or a callable that gives {name: output}, as
            `fcn_layer_outputs`.
        deformations: One or more; each adds [tau x; x + eta] to the forward of a batch.
        seed: Of all draws, any integer.
        noise: "matched" (|eta| = |tau x - x|), "batch" (their mean over the images of one `update`: it depends on the
            cut into batches) or a fixed norm.
        fields_per_image: Deformations and noise draws for each image.
        preprocessing: What happens to images in [0, 1] after the deformation: resizing, mean and standard deviation.
        output: Picks the tensor from what the model returns; or by name of the layer, from what layers return.
        floor: Measure what interpolation alone does, too (`StabilitySums.floor`): a version more of each image.
        equivariant: Measure |f(tau x) - tau f(x)|^2, too (`StabilitySums.equivariance`), of layers whose output is a
            map: (C, h, w) or (h, w, C) with h : w as in the images; not for other people's deformations.
        first_field: Number of the first field: later ones are other draws for the same images.
        look: Images (n, C, H, W) whose mean output all outputs are counted from. They are measured only if they come
            by `update`. By default the first `FIRST_LOOK` images, which wait until they are all there. Passes with the
            same `look` (of several processes, say) merge without any difference in the intervals.

    Raises:
        ArgumentError: An argument is out of range; no such layer, or one module by two names.

    Convention:
        Images may lie along any one axis of a layer's output, or in equal parts along it (windows, patches): the axis
        is the one that grows with the number of images, found on a few of them before measuring.
    """

    def __init__(
        self,
        model: Model,
        *,
        layers: Sequence[str] | Callable[[Tensor], Mapping[str, Tensor]] = (OUTPUT,),
        deformations: Sequence[AnyDeformation],
        seed: int = 0,
        noise: NoiseKind = "matched",
        fields_per_image: int = 1,
        preprocessing: Callable[[Tensor], Any] | None = None,
        output: Pick | Mapping[str, Pick] | None = None,
        floor: bool = False,
        equivariant: bool = False,
        first_field: int = 0,
        look: Tensor | None = None,
    ) -> None:
        self._draws = NumberedDraws(
            deformations,
            seed=seed,
            noise=noise,
            fields_per_image=fields_per_image,
            first_field=first_field,
            floor=floor,
        )
        self._first, self._equivariant = look, equivariant
        self._tapped = TappedCallable(layers) if callable(layers) else TappedModel(model, layers, output)
        self._preprocessing = preprocessing
        self._modules = modules_of((model, layers, preprocessing))
        self._dtype = computing_dtype(self._modules)
        self._layers: dict[str, LayerSums] = {}
        self._waiting: list[_Batch] = []
        self._trial: Trial | None = None
        self._numbers: set[int] = set()
        self._parts = PassParts(self._draws, equivariant=equivariant)

    def __enter__(self) -> Self:
        """Start; nothing is changed in the model yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Measure the images that still wait, unless there was an error."""
        if kind is None:
            self._finish()

    def update(
        self, images: Tensor, numbers: Tensor | Sequence[int], *, noise: Sequence[float] | None = None
    ) -> Tensor:
        """Take in a batch.

        Args:
            images: Shape (n, C, H, W), floating, on any device; left as they are.
            numbers: Places of the images in their data set, (n,), in any order, each once in all batches.
            noise: Norm of the noise for each deformation, in place of the one of the pass.

        Returns:
            The model's output on the images, (n, ...).

        Raises:
            ArgumentError: Images or numbers do not fit; an output is no tensor, or not finite (layer and numbers of
                images are named); a layer does not run, or not as often as before, or has no axis over the images.

        Warns:
            UnsteadyPredictorWarning: A layer changes between two calls, or with the other images of the batch.
            FoldingWarning: Deformations are stronger than is admissible.
        """
        batch = _Batch(*self._checked(images, numbers), noise)
        with self._evaluation(batch.images.device):
            if self._first is not None and not self._layers:
                first, self._first = self._on_device(self._first), None
                self._begin(first, rows=len(images))
            if self._layers:
                output = self._measure(batch)
                self._warn()
                return output
            self._waiting.append(batch._replace(images=batch.images.clone()))
            if sum(len(waiting.images) for waiting in self._waiting) < FIRST_LOOK:
                return self._of_images(self._tapped.run(self._prepared(batch.images.clone())), len(images))
            return self._measure_waiting()

    def mean_norms(self, images: Tensor, numbers: Tensor | Sequence[int]) -> list[float]:
        """Mean |tau x - x| over images (n, C, H, W) and fields, for each deformation."""
        places = checked_numbers(torch.as_tensor(numbers), len(images))
        with self._evaluation(images.device):
            return self._draws.mean_norms(self._on_device(images), places)

    @property
    def images(self) -> int:
        """Number of images so far."""
        return len(self._numbers)

    @property
    def layers(self) -> list[str]:
        """Names of the layers as they were given; of a callable's, those that it gave so far."""
        return list(self._tapped.layers)

    def sums(self) -> dict[LayerKey, StabilitySums]:
        """Sums by (place of the deformation, layer); images in the order of their numbers."""
        return dict(self.result().sums)

    def draws(self) -> list[DrawSummary]:
        """How the versions of each deformation were drawn; images in the order of their numbers."""
        return list(self.result().draws)

    def result(self) -> PassSums:
        """All of it, to be merged with that of other processes (`gathered`).

        Raises:
            ArgumentError: There was no image.
        """
        self._finish()
        if not len(self._parts):
            raise ArgumentError("images", "be one or more", "none", "Call update before asking for the sums.")
        return self._parts.result(list(self._layers.values()))

    def _finish(self) -> None:
        if self._waiting:
            with self._evaluation(self._waiting[0].images.device):
                self._measure_waiting()

    def _checked(self, images: Tensor, numbers: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        if (
            not isinstance(images, Tensor)
            or not images.is_floating_point()
            or not images.ndim
            or not len(images)
        ):
            received = f"{kind} of shape {tuple(getattr(images, 'shape', ()))}"
            raise ArgumentError("images", "be floating, of shape (n, C, H, W) with n >= 1", received)
        places = checked_numbers(torch.as_tensor(numbers), len(images))
        again = self._numbers.intersection(places.tolist())
        if again:
            raise ArgumentError("numbers", "be different in all batches", sorted(again)[:NAMED])
        self._numbers.update(places.tolist())
        return self._on_device(images), places

    def _on_device(self, images: Tensor) -> Tensor:
        """Images where the model is, in the number type that they are deformed in."""
        device = device_of(self._modules, images.device)
        self._dtype = self._dtype or images.dtype
        wide = torch.float64 if self._dtype == torch.float64 else working_dtype(images.dtype)
        if device.type == "mps":  # it has no float64
            wide = torch.float32
        return images.detach().to(dtype=wide).to(device, non_blocking=True)

    @contextmanager
    def _evaluation(self, device: torch.device) -> Iterator[None]:
        devices = [device] if device.type == "cuda" and torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), evaluating(self._modules), torch.no_grad():
            yield

    def _prepared(self, images: Tensor) -> Tensor:
        """What the model gets; it may change it."""
        prepared = images if self._preprocessing is None else self._preprocessing(images)
        if not isinstance(prepared, Tensor):
            raise ArgumentError("preprocessing", "return a tensor", type(prepared).__name__)
        return prepared.to(self._dtype) if prepared.is_floating_point() else prepared

    def _measure_waiting(self) -> Tensor:
        """Look at the first images, then measure all that wait; returns the output on the last batch."""
        first = torch.cat([batch.images for batch in self._waiting])[:FIRST_LOOK]
        self._begin(first, rows=max(len(batch.images) for batch in self._waiting))
        waiting, self._waiting = self._waiting, []
        outputs = [self._measure(batch) for batch in waiting]
        self._warn()
        return outputs[-1]

    def _begin(self, first: Tensor, *, rows: int) -> None:
        """Find the layers on some images, and what their outputs are counted from."""
        for deformation in self._draws.deformations:
            if isinstance(deformation, Deformation):
                deformation.check(first)
        self._trial = Trial.run(self._copies, first)
        self._layers = {name: LayerSums(name, axis) for name, axis in self._trial.axes.items()}
        for part in torch.split(first, rows):
            self._run(part.clone(), partial(LayerSums.look, images=len(part)))
        for layer in self._layers.values():
            layer.settle()
        self._again = first[: self._trial.images].clone()

    def _copies(self, images: Tensor) -> dict[str, Tensor]:
        return self._tapped.copies(self._prepared(images.clone()))

    def _warn(self) -> None:
        """Say once what the first images show: layers that cannot be trusted, fields that fold."""
        trial, self._trial = self._trial, None
        if trial is None:
            return
        smallest = dict(zip(self._layers, self._parts.smallest_changes(), strict=True))
        trial.tell_if_unsteady(lambda: self._copies(self._again), smallest)
        for place, deformation in enumerate(self._draws.deformations):
            if isinstance(deformation, Deformation):
                deformation.warn(self._parts.facts(place), tuple(self._again.shape[1:]))

    def _measure(self, batch: "_Batch") -> Tensor:
        """Measure a batch, in parts that together with their versions are not larger than three times the batch."""
        noise: Sequence[NoiseKind] | None = batch.noise
        if noise is None and self._draws.noise == "batch":
            noise = self._draws.mean_norms(batch.images, batch.numbers)
        count = math.ceil(self._draws.versions / 3)
        parts = zip(torch.chunk(batch.images, count), torch.chunk(batch.numbers, count), strict=True)
        return torch.cat([self._measure_part(*part, noise) for part in parts])

    def _measure_part(self, images: Tensor, numbers: Tensor, noise: Sequence[NoiseKind] | None) -> Tensor:
        versions = self._draws.draw(images, numbers, noise=noise)
        counts = {"images": len(images), "versions": self._draws.versions}
        found: dict[str, Tensor] = {}

        def reduce(layer: LayerSums, output: Tensor) -> None:
            columns = layer.add(output, **counts)
            if self._equivariant:
                columns = torch.cat([columns, self._beside_moving(layer, output, versions)], dim=1)
            found[layer.name] = columns

        output = self._run(versions.stack.flatten(0, 1), reduce)
        self._parts.add(numbers, versions, found, list(self._layers))
        return self._of_images(output, len(versions.stack) * len(images))[: len(images)]

    def _run(self, images: Tensor, act: Callable[[LayerSums, Tensor], None]) -> Tensor:
        """Run the model on images that it may change, and act on what each layer puts out."""
        ran: set[str] = set()

        def receive(name: str, run: int, output: Tensor) -> None:
            key = name if name in self._layers and run == 1 else f"{name}#{run}"
            if key not in self._layers:
                raise ArgumentError("layers", "run as often on every batch", f"another run of {name!r}")
            ran.add(key)
            act(self._layers[key], output)

        output = self._tapped.run(self._prepared(images), receive)
        if missing := [name for name in self._layers if name not in ran]:
            raise ArgumentError("layers", "run as often on every batch", f"no run of {', '.join(missing)}")
        return output

    def _beside_moving(self, layer: LayerSums, output: Tensor, versions: Versions) -> Tensor:
        """|f(tau x) - tau f(x)|^2 for each deformation and field, (n, deformations * fields); NaN for no map."""
        count, size = versions.stack.shape[1], (versions.stack.shape[-2], versions.stack.shape[-1])
        found = []
        for place, fields in enumerate(versions.parameters):
            for field, parameters in enumerate(fields):
                version = 1 + (place * self._draws.fields + field) * self._draws.per_field
                deformation = self._draws.deformations[place]
                move = None
                if isinstance(deformation, Deformation) and parameters is not None:
                    move = partial(_moved_map, deformation=deformation, parameters=parameters, size=size)
                found.append(layer.beside_moving(output, move, images=count, version=version, size=size))
        return torch.stack(found, dim=1)

    @staticmethod
    def _of_images(output: Tensor, images: int) -> Tensor:
        if output.shape[:1] != (images,):
            condition = f"have shape ({images}, ...) for {images} images"
            way_out = "Say with output= what to take, and turn the images to the front."
            raise ArgumentError("output of the model", condition, f"shape {tuple(output.shape)}", way_out)
        return output.detach()


class _Batch(NamedTuple):
    """Images on the device of the model, their numbers, and the norm of the noise for each deformation, if given."""

    images: Tensor
    numbers: Tensor
    noise: Sequence[float] | None


def _moved_map(
    maps: Tensor, *, deformation: Deformation, parameters: Tensor, size: tuple[int, int]
) -> Tensor:
    """Maps (n, C, h, w) of images of a size, warped by the field of the images."""
    height, width = maps.shape[-2:]
    return deformation.apply(maps, deformation.resized(parameters, size, (height, width)))
