"""What a pass over images has found so far: additive, merged over processes and rounds, kept in a file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ResultsError
from diffstab.results import write_atomically
from diffstab.stability import StabilitySums
from diffstab.stability.draws import DrawSummary
from diffstab.stability.pass_sums import PassSums


class PassState(NamedTuple):
    """Sums of a model on some images, rows ascending by the images' numbers.

    Attributes:
        found: Sums and draws.
        labels: (P,) classes of the images; -1 for none.
        predictions: (P,) the classes that the model gives; -1 where its output names none.
        classes: Number of classes that the output tells apart; 0 where it is no vector.
        fields: Fields of each image.
        warnings: What was found wrong with the model on the way, a sentence or two each.
    """

    found: PassSums
    labels: Tensor
    predictions: Tensor
    classes: int
    fields: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.found.numbers)

    @property
    def numbers(self) -> Tensor:
        """(P,) places of the images in their data set."""
        return self.found.numbers

    def sums(self, place: int, layer: str) -> StabilitySums:
        """Sums of a deformation and a layer."""
        return self.found.sums[place, layer]


def joined(parts: Sequence[PassState]) -> PassState:
    """Return the union of disjoint sets of images: of the processes of a pass, or of its rounds.

    Args:
        parts: At least one.
    """
    numbers = torch.cat([part.numbers for part in parts])
    order = torch.argsort(numbers)
    found = reduce(PassSums.merged, [part.found for part in parts])
    return PassState(
        found._replace(sums=_with_one_mean(found)),
        torch.cat([part.labels for part in parts])[order],
        torch.cat([part.predictions for part in parts])[order],
        parts[0].classes,
        parts[0].fields,
        tuple(dict.fromkeys(text for part in parts for text in part.warnings)),
    )


def _with_one_mean(found: PassSums) -> dict[tuple[int, str], StabilitySums]:
    """Return sums that share the mean output of a layer, which is the same for all deformations."""
    return {
        (place, layer): one._replace(shift=found.sums[0, layer].shift, offset=found.sums[0, layer].offset)
        for (place, layer), one in found.sums.items()
    }


def with_more_fields(state: PassState, other: PassState) -> PassState:
    """Return the means over the fields of two passes over the same images."""
    share = other.fields / (state.fields + other.fields)
    sums = {}
    for key, one in state.found.sums.items():
        mean = torch.lerp(one.per_image, other.found.sums[key].per_image, share)
        mean[:, 2] = one.per_image[:, 2]
        sums[key] = one._replace(per_image=mean)
    draws = [_more(*pair) for pair in zip(state.found.draws, other.found.draws, strict=True)]
    found = state.found._replace(sums=sums, draws=draws)
    return state._replace(found=found, fields=state.fields + other.fields)


def _more(one: DrawSummary, other: DrawSummary) -> DrawSummary:
    tensors = [torch.cat(pair, dim=1) for pair in zip(one[:4], other[:4], strict=True)]
    return DrawSummary(*[*tensors, *one[4:]])  # type: ignore[arg-type]


def save_state(state: PassState, path: Path) -> None:
    """Write a state, whole or not at all."""
    content = {
        **state._asdict(),
        "found": [
            state.found.numbers,
            [[*key, *one] for key, one in state.found.sums.items()],
            [list(one) for one in state.found.draws],
        ],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def load_state(path: Path) -> PassState | None:
    """Return the state in a file; None where there is none.

    Raises:
        ResultsError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True)
        numbers, sums, draws = content["found"]
        content["found"] = PassSums(
            numbers,
            {(row[0], row[1]): StabilitySums(*row[2:]) for row in sums},
            [DrawSummary(*row) for row in draws],
        )
        return PassState(**content)
    except Exception as error:  # whatever torch makes of a cut file
        message = f"Cannot read {path}: {type(error).__name__}."
        raise ResultsError(f"{message} Remove it; its images are measured again.") from error
