"""A command that runs a grid of numbers and squares them; each run leaves a line in a log."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

from diffstab.training.grid import Asked, GridCommand


@dataclass(frozen=True)
class ToyExperiment:
    """Numbers to square; `log` gets a line per run, `factor` is fixed within a folder."""

    numbers: list[int] = field(default_factory=lambda: [1, 2, 3])
    factor: float = 1.0
    together: int = 1
    log: str = ""
    threads: int | None = None

    def resolved(self):
        return dataclasses.asdict(self)


class Toy(GridCommand):
    """The command: one run per number, so many in a batch."""

    name = "toy"
    grid_keys = ("numbers", "together", "log", "threads")

    def parse(self, args):
        return Asked(ToyExperiment(), Path("results/toy"))

    def batches(self, experiment):
        for start in range(0, len(experiment.numbers), experiment.together):
            yield tuple(experiment.numbers[start : start + experiment.together])

    def cell_config(self, experiment, cell):
        return {"number": cell}

    def label(self, batch):
        return f"numbers {batch}"

    def run(self, experiment, batch, *, folder, keys, origin, report):
        for cell in batch:
            if cell < 0:
                raise ValueError("a negative number")
            report({"steps": 1.0})
            if experiment.log:
                with Path(experiment.log).open("a") as log:
                    log.write(f"{cell} {os.getpid()}\n")
            yield cell, {"number": cell, "square": experiment.factor * cell**2, **origin}
