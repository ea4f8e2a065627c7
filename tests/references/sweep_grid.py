"""A command that runs a grid of numbers, each for a moment; some raise, some kill their process."""

import dataclasses
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.grid import GridCommand

DATA = {"class_path": "datamodules.Digits"}


@dataclass(frozen=True)
class NumbersExperiment:
    """Numbers to square, `seconds` for each.

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

    def resolved(self):
        return dataclasses.asdict(self)


class Numbers(GridCommand):
    """The command."""

    name = "numbers"
    grid_keys = ("numbers", "seeds", "log", "seconds", "raising", "killing", "threads")

    def parse(self, args):
        return parse_experiment(
            args,
            NumbersExperiment,
            program="diffstab numbers",
            about="Square numbers.",
            part="data",
            add_part=lambda parser: add_data_module(parser, DATA),
        )

    def batches(self, experiment):
        for number in experiment.numbers:
            for seed in experiment.seeds:
                yield ((number, seed),)

    def cell_config(self, experiment, cell):
        return {"number": cell[0], "seed": cell[1]}

    def label(self, batch):
        return f"number={batch[0][0]} seed={batch[0][1]}"

    def run(self, experiment, batch, *, folder, keys, origin, report):
        for cell in batch:
            number, seed = cell
            _note(experiment.log, f"begin {number} {seed} {experiment.factor} {os.getpid()}")
            time.sleep(experiment.seconds)
            if number in experiment.raising:
                raise ValueError(f"{number} is not to be squared")
            if number in experiment.killing:
                os.kill(os.getpid(), signal.SIGKILL)
            row = {"number": number, "seed": seed, "result": experiment.factor * number**experiment.power}
            yield cell, row | {"wall_seconds": experiment.seconds, **origin}
            _note(experiment.log, f"end {number} {seed} {experiment.factor} {os.getpid()}")


def _note(log, line):
    if log:
        with Path(log).open("a") as file:
            file.write(f"{line}\n")
