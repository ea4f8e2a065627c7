"""What a sweep costs per cell, and what a second worker gains.

Overhead: cells that do nothing, on a worker that has run some before, with the claim, the record on the disk and the
way to the worker and back; target: below 50 ms each. Baseline, in the same run: the same cells by `run_grid`.

Gain: the same real cells (constant target on the sphere, both exact predictors) by one worker and by two, both with one
thread of linear algebra; target: at least 1.7 times faster. On a machine with fewer free cores it cannot be met.

    python -m benchmarks.bench_sweep
    python -m benchmarks.bench_sweep --cells 100 --repeats 1      # quick look
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from diffstab.experiments.sphere import SphereExperiment
from diffstab.experiments.unit import Experiment
from diffstab.grid.cluster import Engine, connected
from diffstab.grid.options import parse
from diffstab.grid.plan import experiment_plan
from diffstab.grid.running import run_grid, run_plan
from diffstab.results import provenance
from tests.references.numbers_experiment import Numbers

OVERHEAD_TARGET_MS = 50.0
GAIN_TARGET = 1.7
QUIET = Console(quiet=True)


def timed(act: Callable[[Path], object]) -> float:
    """Return the seconds of an act on a folder that is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        act(Path(folder) / "results")
        return time.perf_counter() - start


def on(client: Any, experiment: Experiment) -> Callable[[Path], object]:
    def act(folder: Path) -> None:
        tally = run_plan(experiment_plan(experiment), folder, where=client, console=QUIET)
        assert tally.failed == 0

    return act


def line(name: str, past: list[float], unit: str, scale: float = 1.0) -> None:
    values = [scale * value for value in past]
    print(f"  {name:28s} {statistics.median(values):8.2f} {unit} ({min(values):.2f} to {max(values):.2f})")


def overhead(cells: int, repeats: int) -> None:
    experiment = Numbers(numbers=list(range(cells)), threads=1)
    here, there = [], []
    with connected(Engine(workers=1)) as client:
        timed(on(client, Numbers(numbers=list(range(20)), threads=1)))
        for _ in range(repeats):
            here.append(timed(lambda folder: run_grid(experiment, folder, console=QUIET)) / cells)
            there.append(timed(on(client, experiment)) / cells)
    print(f"overhead: {cells} cells that do nothing, on a warm worker")
    line("run_grid, per cell", here, "ms", 1e3)
    line("sweep, per cell", there, "ms", 1e3)
    verdict = "met" if 1e3 * statistics.median(there) < OVERHEAD_TARGET_MS else "missed"
    print(f"  target {OVERHEAD_TARGET_MS:.0f} ms: {verdict}", flush=True)


def gain(repeats: int) -> None:
    options = ["--dimensions=[3]", "--n_train=[256]", "--n_test=20000", "--seeds=[0, 1, 2, 3, 4, 5, 6, 7]"]
    experiment = parse(SphereExperiment, options).experiment
    warm = parse(SphereExperiment, [*options, "--n_train=[8]"]).experiment
    past: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):  # round robin, so that a busy machine slows both alike
        for workers, seconds in past.items():
            with connected(Engine(workers=workers)) as client:
                timed(on(client, warm))
                seconds.append(timed(on(client, experiment)))
    print(f"gain: {len(list(experiment.cells()))} cells of the sphere, n = 256")
    for workers, seconds in past.items():
        line(f"{workers} worker(s)", seconds, "s")
    ratios = [one / two for one, two in zip(past[1], past[2], strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"  ratio {statistics.median(ratios):.2f} ({spread}; target {GAIN_TARGET})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    origin = provenance()
    commit = f"{origin['git_commit']}{' (dirty)' if origin['git_dirty'] else ''}"
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    print(f"commit {commit}; {origin['hardware']}, one thread per worker, {load}")
    overhead(arguments.cells, arguments.repeats)
    gain(arguments.repeats)


if __name__ == "__main__":
    main()
