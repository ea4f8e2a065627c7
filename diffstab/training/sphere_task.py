"""Training on the sphere under Lightning."""

from __future__ import annotations

from typing import ClassVar

from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.solver import Solver
from diffstab.solvers.sphere import sphere_solver
from diffstab.solvers.sphere_net import SphereTraining
from diffstab.training.task import Task

_DEFAULT_SETTINGS = SphereTraining()


class SphereTask(Task):
    """One hidden layer trained on points of the sphere by one rule, until its stop rule is met.

    A `Task` whose solver is the descent or flow on the sphere: an epoch is `epoch_steps` steps on all points. Logged
    beside the numbers of the task: train_objective, mass, n_atoms, step_size. Errors are mean squares, the loss half
    of them.

    Args:
        settings: Rule, width, penalty, stop rule and seed of the initial neurons.
        epoch_steps: Steps of an epoch.
        dimension: d of the points; on the command line it is that of the data.

    Raises:
        ArgumentError: If a value is out of range.
    """

    linked: ClassVar[dict[str, str]] = {"data.dimension": "model.dimension"}

    def __init__(
        self, *, settings: SphereTraining = _DEFAULT_SETTINGS, epoch_steps: int = 100, dimension: int = 3
    ) -> None:
        descent = OptimiserSettings("gd")
        super().__init__(
            settings.net(dimension), xi=0.0, loss="regression", optimiser=descent, epoch_steps=epoch_steps
        )
        self.training_settings = settings

    def make_solver(self) -> Solver:
        """Return what moves the net by the rule."""
        return sphere_solver(self.predictor, self.loss, self.training_settings)
