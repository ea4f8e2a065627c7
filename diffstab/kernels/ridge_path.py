"""Kernel ridge regression at several ridges at once, on more points than a Cholesky factorisation has room for.

The upper half of the matrix lies on the disk in float32 (7.2 GB for 60,000 points). Conjugate gradients solve for all
ridges and targets together, with vectors and sums in float64. `NTKRegressor` is the way up to some 10,000 points.
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.kernels.block_kernel import BlockKernel
from diffstab.kernels.conjugate_gradients import Iterate, System, conjugate_gradients
from diffstab.kernels.gram_panels import GramPanels, Tell
from diffstab.kernels.low_rank import low_rank
from diffstab.results.atomic import write_atomically
from diffstab.streams import stream

_STEPS_PER_SAVE = 10


@dataclass(frozen=True)
class RidgePathSettings:
    """How `fit_ridge_path` solves.

    Args:
        kernel: "ntk", or "random_feature" (only the last layer trained); relu networks.
        depth: Number of hidden layers.
        ridges: What is added to the diagonal of the matrix, in units of the mean of the diagonal; at least 0.
        tolerance: Largest |y - (K + ridge) a| / |y| of each target and ridge.
        max_steps: Most steps of the iteration.
        rank: Number of points that the preconditioner is made of; None is 8 sqrt(n).
        checked_points: Number of training points on which the residual of the kernel in float64 is computed too.
        seed: Of the choice of these points and of those of the preconditioner.

    Raises:
        ArgumentError: If a value is out of range.
    """

    kernel: str = "ntk"
    depth: int = 1
    ridges: Sequence[float] = (1e-2, 1e-4, 1e-6)
    tolerance: float = 1e-4
    max_steps: int = 500
    rank: int | None = None
    checked_points: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        listed = list(self.ridges)
        if not listed or len(set(listed)) < len(listed) or not all(0 <= one < math.inf for one in listed):
            raise ArgumentError("ridges", "be different finite numbers >= 0, at least one", listed)
        if not 0 < self.tolerance < 1:
            raise ArgumentError("tolerance", "lie strictly between 0 and 1", self.tolerance)
        least = {"max_steps": self.max_steps, "checked_points": self.checked_points, "rank": self.rank}
        for name, value in least.items():
            if value is not None and value < 1:
                raise ArgumentError(name, "be at least 1", value)


@dataclass(frozen=True)
class RidgePath:
    """The predictors f(x) = sum_i a_i K(x, x_i) of several ridges, with how well each solves its equations.

    Attributes:
        ridges: In units of the mean diagonal.
        ridge_values: What was added to the diagonal, shape (ridges,).
        dual: a, shape (n, ridges) or (n, ridges, outputs), float64.
        residual: |y - (K + ridge) a| / |y| of these a and the matrix in float32, with sums in float64, of the worst
            output, shape (ridges,).
        exact_residual: The same with the kernel in float64, estimated from `checked_points` rows.
        steps: Number of steps, shape (ridges,).
        kernel: On the training points.
    """

    ridges: tuple[float, ...]
    ridge_values: Tensor
    dual: Tensor
    residual: Tensor
    exact_residual: Tensor
    steps: Tensor
    kernel: BlockKernel

    def predict(self, images: Tensor) -> Tensor:
        """Return f(x) for every ridge, shape (m, ridges) or (m, ridges, outputs), float64.

        Args:
            images: Shape (m, ...), floating point. Kernel entries are in float64 if these are, else in float32.
        """
        flat = self.kernel.expansion(images, self.dual.flatten(1))
        return flat.view(-1, *self.dual.shape[1:])

    def predictor(self, ridge: float) -> Callable[[Tensor], Tensor]:
        """Return the predictor of one of the ridges, from images (m, ...) to float64 (m,) or (m, outputs).

        Raises:
            ArgumentError: It is not one of them.
        """
        if ridge not in self.ridges:
            raise ArgumentError("ridge", f"be one of {', '.join(map(str, self.ridges))}", ridge)
        dual = self.dual[:, self.ridges.index(ridge)]
        outputs = dual.shape[1:]
        return lambda images: self.kernel.expansion(images, dual.reshape(len(dual), -1)).view(-1, *outputs)


def fit_ridge_path(
    images: Tensor,
    targets: Tensor,
    settings: RidgePathSettings | None = None,
    *,
    folder: Path | None = None,
    tell: Tell | None = None,
) -> RidgePath:
    """Solve (K + ridge) a = y for all ridges and outputs.

    Args:
        images: Training points, shape (n, ...), floating point.
        targets: y, shape (n,) or (n, outputs): numbers, -1/+1 labels or a column per class.
        settings: Kernel, ridges and solver; None is the defaults.
        folder: Folder of the matrix and, every ten steps, of the iterate. A call that was killed goes on from there
            and ends with the same numbers; other points, targets or settings have files of other names. The caller
            removes it. None keeps the matrix in memory.
        tell: Told how far it is: "matrix", a share, then "steps" and "residual", the largest one.

    Returns:
        The predictors. Where `residual` is above the tolerance (a singular matrix without ridge, or no steps left) they
        are what the iteration has come to.

    Raises:
        ArgumentError: Images or targets do not fit, or are not finite.
        DegenerateError: All points are zero.
    """
    settings = settings or RidgePathSettings()
    kernel = BlockKernel(images, kernel=settings.kernel, depth=settings.depth)
    values = _checked_targets(targets, kernel)
    mean = float(kernel.diagonal.mean())
    if mean == 0:
        raise DegenerateError("All training images are zero: so is every predictor.")
    ridges = values.new_tensor(settings.ridges) * mean
    panels = GramPanels(kernel, folder=folder, tell=tell)
    part = low_rank(
        kernel.columns,
        kernel.diagonal,
        rank=settings.rank or math.ceil(8 * len(kernel) ** 0.5),
        generator=stream(settings.seed, "pivots of a preconditioner"),
    )
    system = System(
        product=panels.product,
        checked=lambda vectors: panels.product(vectors, exact=True),
        precondition=part.solve,
        targets=values.repeat(1, len(ridges)),
        ridges=ridges.repeat_interleave(values.shape[1]),
    )
    saved = _SavedIterate(folder, system, f"{kernel.fingerprint}, {settings.rank}, {settings.seed}", tell)
    found = conjugate_gradients(
        system,
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
        iterate=saved.read(),
        after_step=saved.after_step,
    )
    return _path(kernel, settings, system, found, targets.shape[1:])


def _path(
    kernel: BlockKernel, settings: RidgePathSettings, system: System, found: Iterate, outputs: Sequence[int]
) -> RidgePath:
    shape = (len(settings.ridges), -1)
    sizes = torch.linalg.vector_norm(system.targets, dim=0)
    exact = _sampled_residual(kernel, settings, system, found.solution)
    # A target of zeros is met by zeros.
    relative = [torch.where(sizes > 0, norms / sizes, 0.0).view(shape) for norms in (found.checked, exact)]
    return RidgePath(
        ridges=tuple(settings.ridges),
        ridge_values=system.ridges.view(shape)[:, 0],
        dual=found.solution.view(len(kernel), len(settings.ridges), *outputs),
        residual=relative[0].amax(dim=1),
        exact_residual=relative[1].amax(dim=1),
        steps=found.steps.view(shape).amax(dim=1),
        kernel=kernel,
    )


def _sampled_residual(
    kernel: BlockKernel, settings: RidgePathSettings, system: System, dual: Tensor
) -> Tensor:
    """Return the norm of the residual with the kernel in float64, from its mean square over some rows."""
    generator = stream(settings.seed, "points of a residual")
    rows = torch.randperm(len(kernel), generator=generator)[: settings.checked_points].to(dual.device)
    missed = system.targets[rows] - kernel.exact_rows(rows) @ dual - system.ridges * dual[rows]
    return missed.square().mean(dim=0).mul(len(kernel)).sqrt()


def _checked_targets(targets: Tensor, kernel: BlockKernel) -> Tensor:
    """Return the targets as (n, outputs), float64."""
    if targets.ndim not in (1, 2) or len(targets) != len(kernel) or targets.numel() == 0:
        condition = f"have shape ({len(kernel)},) or ({len(kernel)}, outputs)"
        raise ArgumentError("targets", condition, tuple(targets.shape))
    values = targets.to(kernel.diagonal).reshape(len(kernel), -1)
    if not bool(values.isfinite().all()):
        raise ArgumentError("targets", "be finite", "NaN or infinite entries")
    return values


class _SavedIterate:
    """The file of an iterate, for a call that goes on where another was killed.

    Args:
        folder: Where it lies; None saves nothing.
        system: The equations, whose targets and ridges are part of the file's name.
        name: What else they depend on.
        tell: Told of every step.
    """

    def __init__(self, folder: Path | None, system: System, name: str, tell: Tell | None) -> None:
        self._tell, self._count = tell, 0
        self._sizes = torch.linalg.vector_norm(system.targets, dim=0)
        digest = hashlib.sha256(name.encode())
        for values in (system.targets, system.ridges):
            digest.update(values.cpu().numpy().tobytes())
        self._path = folder / f"iterate_{digest.hexdigest()[:16]}.pt" if folder else None
        self._device = system.targets.device

    def read(self) -> Iterate | None:
        """Return what was saved, if anything."""
        if self._path is None or not self._path.exists():
            return None
        return Iterate(*torch.load(self._path, weights_only=True, map_location=self._device))

    def after_step(self, iterate: Iterate) -> None:
        """Save every tenth iterate, and tell of each."""
        self._count += 1
        if self._path is not None and self._count % _STEPS_PER_SAVE == 0:
            buffer = io.BytesIO()
            torch.save(list(iterate), buffer)
            write_atomically(self._path, buffer.getvalue())
        if self._tell:
            norms = torch.linalg.vector_norm(iterate.residual, dim=0)
            largest = torch.where(self._sizes > 0, norms / self._sizes, 0.0).max()
            self._tell({"steps": float(iterate.steps.max()), "residual": float(largest)})
