r"""The linear oracle of the cone of pairs: the neuron whose addition lowers the loss most.

For a gradient G = dC/dZ_{l+1} at fixed later weights, a neuron of in-weights u, |u| = 1, and small out-weights changes
the loss by 2 lambda - |G s(u^T Z_{l-1}^s)| per unit of mass at best. So the generator (z z^T, s(z) s(z)^T) of the cone,
z = u^T Z^s, that lowers it most maximises |G s(z)| over the unit sphere.

The hyperplanes z_i = 0 cut the sphere into faces. On a face |G s(z)|^2 = u^T M u is a quadratic form, so that a maximum
inside it is the top eigenvector of M restricted to the face's span: the best top eigenvector over all faces is the
maximum. Few enough faces are all tried; else those around the points where ascent from many starts ends.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.l2.problem import L2Problem

_STEPS, _SWEEPS, _NEAR = 40, 3, 4
_MOST_FACES, _CHUNK = 150_000, 20_000


class Generators(NamedTuple):
    """Neurons found by the oracle, best first.

    Attributes:
        directions: u, shape (k, n), unit rows.
        values: |G s(u^T Z^s)|, shape (k,).
        exact: Whether the first is known to be the best of all; else many starts were tried.
    """

    directions: Tensor
    values: Tensor
    exact: bool


def best_generators(
    problem: L2Problem,
    slopes: Tensor,
    below: Tensor,
    *,
    starts: int,
    generator: torch.Generator,
    known: Tensor | None = None,
    count: int = 8,
) -> Generators:
    """Maximise |G s(u^T Z^s)| over unit u.

    Args:
        problem: Gives the activation, relu or linear.
        slopes: G, shape (m, N).
        below: Z^s, shape (n, N), not zero.
        starts: Random starts, beside one along every column of `below` and the known ones.
        generator: Source of the starts, on any device.
        known: More starts, shape (k, n).
        count: At most so many different ones are returned.
    """
    # Outside the span of the columns u has no effect: the search goes on in coordinates of the span.
    basis, sizes, _ = torch.linalg.svd(below, full_matrices=False)
    basis = basis[:, sizes > sizes[0] * max(below.shape) * torch.finfo(below.dtype).eps]
    columns = basis.T @ below
    search = _Search(problem, slopes, columns)
    if problem.activation == "linear":
        found, exact = search.top_eigenvectors(), True
    else:
        vertices, exact = search.vertices()
        if not exact:
            drawn = torch.randn(
                starts, len(columns), generator=generator, dtype=below.dtype, device=generator.device
            ).to(below.device)
            begin = [
                drawn @ columns @ columns.T,
                columns.T,
                -columns.T,
                *([] if known is None else [known @ basis]),
            ]
            found = search.ascend(_unit(torch.cat(begin)))
            for _ in range(_SWEEPS):
                best = search.values(found).argsort(descending=True)[: 4 * count]
                found = torch.cat([found[best], search.face_maxima(found[best], _NEAR)])
        else:
            found = search.face_maxima(vertices, len(columns) - 1)
    directions, values = _distinct(found, search.values(found), count)
    return Generators(directions @ basis.T, values, exact)


class _Search:
    """Maximisation of |G s(u^T B)| over unit u for columns B (n, N) of full row rank."""

    def __init__(self, problem: L2Problem, slopes: Tensor, columns: Tensor) -> None:
        self.problem, self.slopes, self.columns = problem, slopes, columns
        self.curvature = slopes.T @ slopes

    def values(self, directions: Tensor) -> Tensor:
        """Return |G s(u^T B)| of rows u, shape (k,)."""
        found: Tensor = (self.problem.activate(directions @ self.columns) @ self.slopes.T).norm(dim=1)
        return found

    def top_eigenvectors(self) -> Tensor:
        """Return the maxima for the linear activation, best first."""
        form = self.columns @ self.curvature @ self.columns.T
        vectors: Tensor = torch.linalg.eigh(form).eigenvectors.T.flip(0)
        return vectors

    def ascend(self, directions: Tensor) -> Tensor:
        """Ascend from every row; its step grows after success and shrinks after failure."""
        lengths, values = torch.ones_like(directions[:, :1]), self.values(directions)
        for _ in range(_STEPS):
            z = directions @ self.columns
            back = self.problem.through_slope(self.problem.activate(z) @ self.curvature, z) @ self.columns.T
            back = back - (back * directions).sum(1, keepdim=True) * directions
            size = back.norm(dim=1, keepdim=True).clamp_min(torch.finfo(back.dtype).tiny)
            trial = directions + lengths * back / size
            trial = trial / trial.norm(dim=1, keepdim=True)
            found = self.values(trial)
            better = (found > values)[:, None]
            directions = torch.where(better, trial, directions)
            values = torch.where(better[:, 0], found, values)
            lengths = torch.where(better, 1.5 * lengths, lengths / 3)
        return directions

    def vertices(self) -> tuple[Tensor, bool]:
        """Return the unit vectors orthogonal to n - 1 columns, and whether the faces around them are all faces."""
        rank = len(self.columns)
        usable = self.columns[:, self.columns.norm(dim=0) > 0]
        count = usable.shape[1]
        faces = 2 * math.comb(count, rank - 1) * 3 ** (rank - 1)
        if faces > _MOST_FACES:
            return self.columns.T[:0], False
        if rank == 1:
            one = self.columns.new_ones(1, 1)
            return torch.cat([one, -one]), True
        chosen = torch.tensor(list(itertools.combinations(range(count), rank - 1)))
        normals = usable.T[chosen] / usable.norm(dim=0)[chosen].unsqueeze(2)
        decomposed = torch.linalg.svd(normals)
        found = decomposed.Vh[:, -1]
        zeros = ((found @ usable).abs() < 1e-9 * usable.norm(dim=0)).sum(1)
        # More zeros than were asked for: columns in special position, whose faces are not all found from here.
        return torch.cat([found, -found]), bool((zeros == rank - 1).all())

    def face_maxima(self, centres: Tensor, held: int) -> Tensor:
        """Return the top eigenvectors of all faces around each centre: its `held` nearest kinks on, off or at 0."""
        held = min(held, len(self.columns) - 1, self.columns.shape[1])
        lengths = self.columns.norm(dim=0).clamp_min(torch.finfo(self.columns.dtype).tiny)
        z = centres @ self.columns
        nearest = (z.abs() / lengths).argsort(dim=1)[:, :held]
        patterns = torch.tensor(list(itertools.product((1, 0, -1), repeat=held)), device=centres.device)
        chunk = max(1, _CHUNK // max(1, len(patterns)))
        parts = [
            self._around(z[place : place + chunk], nearest[place : place + chunk], patterns)
            for place in range(0, len(centres), chunk)
        ]
        return torch.cat(parts)

    def _around(self, z: Tensor, nearest: Tensor, patterns: Tensor) -> Tensor:
        """Return the best top eigenvector around each centre, of its faces given by signs of the nearest kinks."""
        shape = (len(z), len(patterns))
        active = (z > 0).unsqueeze(1).expand(*shape, -1).clone()
        place = nearest.unsqueeze(1).expand(*shape, -1)
        active.scatter_(2, place, (patterns > 0).expand(*shape, -1))
        rows = self.columns.T[nearest].unsqueeze(1) * (patterns == 0).to(z.dtype)[None, :, :, None]
        decomposed = torch.linalg.svd(rows, full_matrices=False)
        kept = self.columns.norm() * 1e-10 < decomposed.S
        span = decomposed.Vh * kept.unsqueeze(-1)
        masked = self.columns * active.unsqueeze(2).to(z.dtype)
        form = masked @ self.curvature @ masked.mT
        within = torch.eye(len(self.columns), dtype=z.dtype, device=z.device) - span.mT @ span
        vectors = torch.linalg.eigh(within @ form @ within).eigenvectors[..., -1]
        # An eigenvector has no sign, the face does.
        both = torch.cat([vectors, -vectors], dim=1)
        best = self.values(both.flatten(0, 1)).view(both.shape[:2]).argmax(dim=1)
        chosen: Tensor = both[torch.arange(len(z), device=z.device), best]
        return chosen


def _unit(rows: Tensor) -> Tensor:
    sizes = rows.norm(dim=1)
    scaled: Tensor = rows[sizes > 0] / sizes[sizes > 0, None]
    return scaled


def _distinct(directions: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the best directions that differ from one another, at most so many, and their values."""
    kept: list[int] = []
    for place in values.argsort(descending=True).tolist():
        if all((directions[place] - directions[other]).norm() > 1e-2 for other in kept):
            kept.append(place)
        if len(kept) == count:
            break
    return directions[kept], values[kept]
