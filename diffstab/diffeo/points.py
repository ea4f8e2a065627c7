"""Where points, boxes and pixels go under a displacement field, and where they come from."""

from typing import NamedTuple

import torch

from diffstab.diffeo.field import check_coefficients
from diffstab.diffeo.folding import warn_of_lost_points
from diffstab.diffeo.precision import in_double
from diffstab.diffeo.temperature import check_sides
from diffstab.errors import ArgumentError

_TOLERANCE_PX = 1e-8
_ROUNDS = 40
_RESTARTS = 4
_SAMPLES_PER_MODE = 16  # along an edge of a box: misses its extreme by 0.5 % of the mode's amplitude at most
_CHUNK = 1 << 22  # distances computed at once


class _Series(NamedTuple):
    """The sine series of n fields on images of one size, in float64."""

    coefficients: torch.Tensor  # (n, 2, c, c)
    height: int
    width: int

    def displacement(self, points: torch.Tensor) -> torch.Tensor:
        """The displacement (dx, dy) in pixels at points (n, P, 2)."""
        across, down, _ = self._modes(points)
        return self._sum(across.sin(), down.sin())

    def slopes(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The derivatives of the displacement along x and along y, each (n, P, 2), at points (n, P, 2)."""
        across, down, modes = self._modes(points)
        along_x = self._sum(across.cos() * modes / (self.width - 1), down.sin())
        along_y = self._sum(across.sin(), down.cos() * modes / (self.height - 1))
        return along_x, along_y

    def _modes(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        modes = torch.pi * torch.arange(1, self.coefficients.shape[-1] + 1).to(points)
        return (
            points[..., :1] * (modes / (self.width - 1)),
            points[..., 1:] * (modes / (self.height - 1)),
            modes,
        )

    def _sum(self, across: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        dx, dy = ((across @ self.coefficients[:, k] * down).sum(-1) for k in (0, 1))
        return torch.stack([self.width * dx, self.height * dy], dim=-1)


def source_points(points: torch.Tensor, coefficients: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return where points of warped images come from: p = q - tau(q).

    Args:
        points: q, (n, P, 2): x along the width, y along the height, pixel centres at whole numbers.
        coefficients: (n, 2, c, c), or (1, 2, c, c) shared by all, as for `diffstab.diffeo.warp_by_coefficients`.
        size: (height, width) of the images.

    Returns:
        (n, P, 2) in float64. Points outside the images, and NaN, stay as they are.

    Raises:
        ArgumentError: A shape is wrong, or a coefficient is not finite.
    """
    series, points, inside = _prepared(points, coefficients, size)
    return torch.where(inside, points - series.displacement(points.where(inside, 0)), points)


def moved_points(points: torch.Tensor, coefficients: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return where points of images go when the images are warped: the q with q - tau(q) = p.

    Solved by Newton's method to 1e-8 px in the sine series itself (between pixels `warp` follows its values at the
    pixels).

    Args:
        points: p, (n, P, 2), in the axes of `source_points`.
        coefficients: As there.
        size: (height, width) of the images.

    Returns:
        q, (n, P, 2) in float64. Points outside the images, and NaN, stay as they are.

    Raises:
        ArgumentError: As for `source_points`.

    Warns:
        FoldingWarning: Places of some points are not found. At the highest admissible temperature all are; at four
            times this, one in 500 is missed, by up to two pixels.

    Convention:
        Where the field folds (`diffstab.diffeo.folded`) the warped image may show a point at several places: the
        result is one of these.
    """
    series, points, inside = _prepared(points, coefficients, size)
    targets = points.where(inside, 0)
    moved = _newton(targets + series.displacement(targets), targets, series)
    missed = _missed(moved, targets, series)
    for start in range(_RESTARTS):  # needed where the field folds, or nearly does
        if not bool(missed.any()):
            break
        moved = _again(moved, targets, series, missed=missed, start=start)
        missed = _missed(moved, targets, series)
    warn_of_lost_points(missed)
    return torch.where(inside, moved, points)


def moved_boxes(
    corners: torch.Tensor, coefficients: torch.Tensor, size: tuple[int, int], *, back: bool = False
) -> torch.Tensor:
    """Return the upright boxes around quadrilaterals of images when the images are warped.

    Not the corners alone are followed but the whole outline, at 16 c points on each edge: the box holds all that the
    quadrilateral held, up to 0.5 % of the displacement.

    Args:
        corners: (n, N, 4, 2): corners in turn, (x, y), pixel centres at whole numbers.
        coefficients: As for `moved_points`.
        size: (height, width) of the images.
        back: Go from the warped images to their sources instead.

    Returns:
        (n, N, 4, 2) in float64: top left, top right, bottom right, bottom left.

    Raises:
        ArgumentError: As for `moved_points`.
    """
    count, boxes = corners.shape[:2]
    samples = _SAMPLES_PER_MODE * coefficients.shape[-1]
    start = in_double(corners)[:, :, :, None]
    weight = torch.linspace(0, 1, samples + 1, dtype=torch.float64, device=start.device)[:-1, None]
    outline = start + weight * (start.roll(-1, dims=2) - start)  # (n, N, 4, samples, 2)
    outline = outline.reshape(count, boxes * 4 * samples, 2)
    moved = (source_points if back else moved_points)(outline, coefficients, size)
    low, high = moved.reshape(count, boxes, 4 * samples, 2).aminmax(dim=2)
    left, top, right, bottom = *low.unbind(-1), *high.unbind(-1)
    around = [left, top, right, top, right, bottom, left, bottom]
    return torch.stack(around, dim=-1).reshape(count, boxes, 4, 2)


def inverse_field(coefficients: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the fields that undo those of sine coefficients, up to what interpolation blurs.

    ``warp(warp(x, displacement_field(c, H, W)), inverse_field(c, H, W))`` is x up to two interpolations. Where a field
    folds, what lay under the fold is lost.

    Args:
        coefficients: (n, 2, c, c).
        height: H in pixels, at least 2.
        width: W in pixels, at least 2.

    Returns:
        (n, 2, H, W) in pixels, float64: the field d at p with p - d(p) = q, where q - tau(q) = p.

    Raises:
        ArgumentError: As for `moved_points`.
    """
    check_sides(height, width)
    pixels = _pixels(height, width, in_double(coefficients).device).expand(len(coefficients), -1, -1)
    field = pixels - moved_points(pixels, coefficients, (height, width))
    return field.transpose(1, 2).reshape(len(coefficients), 2, height, width)


def _prepared(
    points: torch.Tensor, coefficients: torch.Tensor, size: tuple[int, int]
) -> tuple[_Series, torch.Tensor, torch.Tensor]:
    """Check and convert the arguments: the series, the points in float64, and which lie in the image, (n, P, 1)."""
    height, width = size
    check_sides(height, width)
    check_coefficients(coefficients)
    if points.ndim != 3 or points.shape[-1] != 2 or len(coefficients) not in (1, len(points)):
        condition = f"have shape (n, P, 2), n = {len(coefficients)} like the fields"
        raise ArgumentError("points", condition, tuple(points.shape))
    points = in_double(points)
    last = points.new_tensor([width - 1, height - 1])
    inside = ((points >= 0) & (points <= last)).all(-1, keepdim=True)
    return _Series(coefficients.to(points), height, width), points, inside


def _missed(moved: torch.Tensor, targets: torch.Tensor, series: _Series) -> torch.Tensor:
    """Tell which points are not where they should be, (n, P)."""
    return _length(_residual(moved, targets, series))[..., 0] > _TOLERANCE_PX


def _residual(moved: torch.Tensor, targets: torch.Tensor, series: _Series) -> torch.Tensor:
    return moved - series.displacement(moved) - targets


def _length(vectors: torch.Tensor) -> torch.Tensor:
    return vectors.square().sum(-1, keepdim=True).sqrt()


def _newton(start: torch.Tensor, targets: torch.Tensor, series: _Series) -> torch.Tensor:
    """Solve q - tau(q) = p from a start, halving the step of a point where it would lead away."""
    last = targets.new_tensor([series.width - 1, series.height - 1])
    moved = start.clamp(last.new_zeros(()), last)
    residual = _residual(moved, targets, series)
    scale = torch.ones_like(residual[..., :1])
    for _ in range(_ROUNDS):
        if not bool((_length(residual) > _TOLERANCE_PX).any()):
            break
        trial = (moved - scale * _newton_step(residual, moved, series)).clamp(last.new_zeros(()), last)
        trial_residual = _residual(trial, targets, series)
        better = _length(trial_residual) < _length(residual)
        moved, residual = trial.where(better, moved), trial_residual.where(better, residual)
        scale = torch.where(better, (2 * scale).clamp(max=1), scale / 2)
    return moved


def _newton_step(residual: torch.Tensor, moved: torch.Tensor, series: _Series) -> torch.Tensor:
    """Solve (I - grad tau) step = residual; where the matrix is singular, the step of the fixed-point iteration."""
    along_x, along_y = series.slopes(moved)
    a, b, c, d = 1 - along_x[..., 0], -along_y[..., 0], -along_x[..., 1], 1 - along_y[..., 1]
    x, y = residual.unbind(-1)
    determinant = a * d - b * c
    regular = determinant.abs() > 1e-9
    step = torch.stack([d * x - b * y, a * y - c * x], dim=-1) / determinant.where(regular, 1)[..., None]
    return step.where(regular[..., None], residual)


def _again(
    moved: torch.Tensor, targets: torch.Tensor, series: _Series, *, missed: torch.Tensor, start: int
) -> torch.Tensor:
    """Solve for the missed points from another pixel of the warped image, the next whose source is near."""
    pixels = _pixels(series.height, series.width, targets.device)
    result = moved.clone()
    for row in missed.any(1).nonzero().flatten().tolist():
        one = series._replace(coefficients=series.coefficients[row % len(series.coefficients)][None])
        sources = (pixels - one.displacement(pixels))[0]
        where = missed[row].nonzero().flatten()
        for part in torch.split(where, max(1, _CHUNK // len(sources))):
            wanted = targets[row : row + 1, part]
            near = torch.cdist(wanted[0], sources).topk(_RESTARTS, largest=False).indices[:, start]
            found = _newton(pixels[:, near], wanted, one)
            before = moved[row : row + 1, part]
            better = _length(_residual(found, wanted, one)) < _length(_residual(before, wanted, one))
            result[row, part] = found.where(better, before)[0]
    return result


def _pixels(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return the pixel centres (x, y), row by row: (1, H W, 2) in float64."""
    columns = torch.arange(width, dtype=torch.float64, device=device)
    rows = torch.arange(height, dtype=torch.float64, device=device)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).reshape(1, -1, 2)
