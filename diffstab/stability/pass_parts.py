"""What a pass keeps of its forwards on the CPU: a few numbers for each image and layer."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.draws import DRAWN, DrawSummary, NumberedDraws, Versions
from diffstab.stability.field_facts import FieldFacts
from diffstab.stability.growing import GrowingRows
from diffstab.stability.layer_sums import LayerSums
from diffstab.stability.pass_sums import PassSums
from diffstab.stability.sums import StabilitySums
from diffstab.stability.trial import layer_text

NAMED = 8
"""Image numbers in an error, at most."""


class PassParts:
    """Collects the numbers of each forward, and makes sums of them.

    Args:
        draws: What versions of images there are.
        equivariant: Whether columns of |f(tau x) - tau f(x)|^2 follow those of the versions.
    """

    def __init__(self, draws: NumberedDraws, *, equivariant: bool) -> None:
        self._draws, self._equivariant = draws, equivariant
        self._numbers, self._columns, self._drawn = GrowingRows(), GrowingRows(), GrowingRows()
        self._strengths: list[tuple[float, float, float]] = []

    def __len__(self) -> int:
        """Number of images."""
        return len(self._numbers)

    def add(
        self, numbers: Tensor, versions: Versions, found: Mapping[str, Tensor], layers: Sequence[str]
    ) -> None:
        """Copy what was reduced to the CPU, once, and see that it is finite.

        Args:
            numbers: Of the images, (n,).
            versions: Of the images.
            found: Columns (n, versions) of each layer, in the order in which they ran.
            layers: All of them, in the order of the result.

        Raises:
            ArgumentError: Images or outputs are not finite.
        """
        device = next(iter(found.values())).device
        wide = torch.float32 if device.type == "mps" else torch.float64
        columns = torch.stack([found[name].to(device, wide) for name in layers]).cpu().double()
        norms = versions.norms.cpu().double()
        finite = norms.isfinite().flatten(0, 2).all(dim=0)
        if not bool(finite.all()):
            raise ArgumentError("images", "be finite", _numbers_text("NaN or infinity", numbers[~finite]))
        finite = columns[:, :, 1 : self._draws.versions].isfinite().all(dim=2)
        for name in () if bool(finite.all()) else found:  # the first of them to run
            bad = numbers[~finite[list(layers).index(name)]]
            if len(bad):
                received = _numbers_text("NaN, infinity or squares beyond the number type", bad)
                raise ArgumentError(layer_text(name), "be finite", received, "Did the training diverge?")
        self._numbers.add(numbers)
        self._columns.add(columns.transpose(0, 1))
        self._drawn.add(_stacked(versions.summaries(norms)))
        self._strengths = versions.strengths

    def smallest_changes(self) -> list[float]:
        """Of each layer the smallest mean squared change by any deformation or noise."""
        changes = self._columns.rows[:, :, 1 : self._draws.versions].mean(dim=0)
        kinds = changes.view(len(changes), -1, self._draws.per_field)[:, :, :2]
        return [float(value) for value in kinds.flatten(1).min(dim=1).values]

    def facts(self, place: int) -> FieldFacts:
        """Facts about the fields of a deformation."""
        return self._summary(place).facts()

    def result(self, layers: Sequence[LayerSums]) -> PassSums:
        """Sums over all images, in the order of their numbers."""
        numbers = self._numbers.rows
        order = numbers.argsort()
        columns = self._columns.rows[order].transpose(0, 1)
        places = range(len(self._draws.deformations))
        sums = {}
        for layer, one in zip(layers, columns, strict=True):
            shift, offset = layer.shift.cpu().double(), layer.offset.cpu().double()
            for place in places:
                sums[place, layer.name] = StabilitySums(shift, offset, self._per_image(one, place))
        draws = [self._summary(place).rows(order) for place in places]
        return PassSums(numbers[order], sums, draws)

    def _summary(self, place: int) -> DrawSummary:
        deformed, noise, squared, folded = self._drawn.rows[:, place].unbind(dim=1)
        return DrawSummary(deformed, noise, squared, folded, *self._strengths[place])

    def _per_image(self, columns: Tensor, place: int) -> Tensor:
        """Columns of `StabilitySums.per_image` for one layer and deformation."""
        per_field, fields = self._draws.per_field, self._draws.fields
        first = 1 + place * fields * per_field
        changes = columns[:, first : first + fields * per_field].reshape(-1, fields, per_field).mean(dim=1)
        unknown = torch.full_like(columns[:, 0], torch.nan)
        kept = [changes[:, 0], changes[:, 1], columns[:, 0]]
        if self._draws.floor or self._equivariant:
            kept.append(changes[:, 2] if self._draws.has_floor(place) else unknown)
        if self._equivariant:
            start = self._draws.versions + place * fields
            kept.append(columns[:, start : start + fields].mean(dim=1))
        return torch.stack(kept, dim=1)


def _stacked(summaries: Sequence[DrawSummary]) -> Tensor:
    """What was drawn for n images, (n, deformations, kinds of numbers, fields), float64."""
    parts = [torch.stack([getattr(one, name) for name in DRAWN], dim=1) for one in summaries]
    return torch.stack(parts, dim=1)


def _numbers_text(what: str, numbers: Tensor) -> str:
    named = ", ".join(str(number) for number in sorted(numbers.tolist())[:NAMED])
    return f"{what} for {len(numbers)} images (numbers {named}{', ...' if len(numbers) > NAMED else ''})"
