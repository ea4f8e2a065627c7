"""An experiment that squares numbers; each run leaves a line in a log."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from diffstab.experiments.unit import Axis, Experiment


@dataclass(frozen=True)
class Toy(Experiment):
    """Numbers to square; `log` gets a line per run, `factor` is fixed within a folder."""

    name = "toy"
    kind = "toy"
    axes = (Axis("numbers", "number", "number"),)
    free = ("together_size", "log", "threads")
    curve = "number"
    measures = ("square",)

    numbers: list[int] = field(default_factory=lambda: [1, 2, 3])
    factor: float = 1.0
    together_size: int = 1
    log: str = ""
    threads: int | None = None

    def batches(self):
        cells = list(self.cells())
        for start in range(0, len(cells), self.together_size):
            yield tuple(cells[start : start + self.together_size])

    def run(self, cell, shared, workplace):
        number = cell["number"]
        if number < 0:
            raise ValueError("a negative number")
        workplace.tell({"steps": 1.0})
        if self.log:
            with Path(self.log).open("a") as log:
                log.write(f"{number} {os.getpid()}\n")
        return {"square": self.factor * number**2}
