"""An experiment of a grid of numbers, each for a moment; some raise, some kill their process."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from diffstab.experiments.unit import DATA_MODULE, Axis, Experiment

DATA = {"class_path": "datamodules.Digits"}


@dataclass(frozen=True)
class Numbers(Experiment):
    """Square numbers, `seconds` for each.

    Args:
        data: Not used.
        numbers: The grid.
        seeds: The other axis of it.
        factor: Of the squares.
        power: Of the numbers.
        seconds: Time a run takes.
        log: File that gets a line when a run begins and when it ends; none if empty.
        raising: Numbers whose runs raise an exception.
        killing: Numbers whose runs kill their process.
        threads: Threads of a run.
    """

    name = "numbers"
    kind = "numbers"
    axes = (Axis("numbers", "number", "number"), Axis("seeds", "seed", "seed"))
    free = ("log", "seconds", "raising", "killing", "threads")
    class_option = DATA_MODULE

    data: dict = field(default_factory=lambda: DATA)
    numbers: list[int] = field(default_factory=lambda: [1, 2, 3])
    seeds: list[int] = field(default_factory=lambda: [0])
    factor: float = 1.0
    power: int = 2
    seconds: float = 0.0
    log: str = ""
    raising: list[int] = field(default_factory=list)
    killing: list[int] = field(default_factory=list)
    threads: int | None = None

    def run(self, cell, shared, workplace):
        number, seed = cell["number"], cell["seed"]
        _note(self.log, f"begin {number} {seed} {self.factor} {os.getpid()}")
        time.sleep(self.seconds)
        if number in self.raising:
            raise ValueError(f"{number} is not to be squared")
        if number in self.killing:
            os.kill(os.getpid(), signal.SIGKILL)
        _note(self.log, f"end {number} {seed} {self.factor} {os.getpid()}")
        return {"result": self.factor * number**self.power}


def _note(log, line):
    if log:
        with Path(log).open("a") as file:
            file.write(f"{line}\n")
