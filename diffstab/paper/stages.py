"""The runs behind the figures and claims of the sources: which commands, with which configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class
from diffstab.grid.options import Request, parse
from diffstab.shipped import CONFIGS


class Stage(NamedTuple):
    """A grid of runs that figures and claims are read from.

    Attributes:
        name: Of its results folder.
        command: Grid command that makes it.
        minutes: Expected time at the small size on two cores.
        config: Configuration of the small size, below `configs/`.
        full: Configuration of the papers' own size, below `configs/`; the small one where that is it already.
        published: Sizes of the source in words; "" where it states none.
    """

    name: str
    command: str
    minutes: float
    config: str
    full: str
    published: str = ""

    def path(self, *, full: bool = False) -> Path:
        """Return the configuration file of a size.

        Raises:
            ArgumentError: If it is not there: the installation is damaged.
        """
        path = CONFIGS / (self.full if full else self.config)
        if not path.is_file():
            raise ArgumentError("configuration", "come with diffstab", str(path), "Install it anew.")
        return path

    def request(self, root: Path, *, full: bool = False) -> Request:
        """Return what is to run, with a results folder below `root`."""
        arguments = ["--config", str(self.path(full=full)), "--results", str(root / self.name)]
        return parse(experiment_class(self.command), arguments)


_IMAGES = "n = 32 to 10 000; hidden width 1000; ensembles of 10 initialisations"
_TRAINED = "d = 2, 3, 5; n = 8 to 1024; width 10 000; up to 10^7 steps; 5 seeds"
_TRIALS = "three trials of each width"
_FULL = "paper/full/sphere_"
_LISTED = (
    ("images_mnist", "compare", 6, "experiment/mnist", _IMAGES),
    ("images_fashion", "compare", 6, "experiment/fashion", _IMAGES),
    ("images_cifar10", "compare", 5.5, "experiment/cifar10_jpeg", _IMAGES),
    ("sphere_constant", "sphere curve", 3, "", "d = 2, 3, 5; 5 seeds"),
    ("sphere_exact", "sphere curve", 5.5, "", ""),
    ("sphere_gaussian", "sphere curve", 3, f"{_FULL}gaussian", ""),
    ("sphere_field", "sphere curve", 4.5, "", ""),
    ("sphere_lazy", "sphere curve", 4, "", ""),
    ("sphere_anisotropic", "sphere curve", 1, f"{_FULL}anisotropic", ""),
    ("sphere_trained", "sphere curve", 6, f"{_FULL}trained", _TRAINED),
    ("forces_mnist", "forces", 0.5, "", ""),
    ("plateau_mnist", "plateau", 4, "paper/full/plateau_mnist", _TRIALS),
    ("plateau_mnist_shallow", "plateau", 3.5, "paper/full/plateau_mnist_shallow", ""),
    ("plateau_teacher", "plateau", 1.5, "", _TRIALS),
    ("plateau_bipartite", "plateau", 1, "", ""),
    ("plateau_onehot", "plateau", 0.2, "", ""),
    ("plateau_scalar", "plateau", 1, "", ""),
    ("plateau_optimisers", "plateau", 2.5, "", ""),
)

STAGES: dict[str, Stage] = {
    name: Stage(name, command, minutes, f"paper/{name}.yaml", f"{full or f'paper/{name}'}.yaml", published)
    for name, command, minutes, full, published in _LISTED
}
"""All stages by name, in the order in which they run."""


def chosen(names: Sequence[str]) -> list[Stage]:
    """Return the stages of the given names in their own order; all of them for none.

    Raises:
        ArgumentError: If a name is no stage.
    """
    if unknown := sorted(set(names) - STAGES.keys()):
        raise ArgumentError("stages", f"be among {', '.join(STAGES)}", ", ".join(unknown))
    return [stage for name, stage in STAGES.items() if not names or name in names]
