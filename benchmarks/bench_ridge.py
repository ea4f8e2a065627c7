"""Time and memory of exact kernel regression on the sphere against a plain solve on the same kernel.

Baseline, in the same run: the Gram matrices as they are, `numpy.linalg.solve` (LU), one product for all test points.
Targets: fit and prediction in at most 60 s, at most 3 training matrices (n x n) of memory beyond the inputs.

    python -m benchmarks.bench_ridge                              # n = 8192, 10^4 test points, d = 3
    python -m benchmarks.bench_ridge --size 1024 --tests 1000     # quick look
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.rounds import compared, in_turn
from diffstab.kernels import NTKRegressor, ntk
from diffstab.results import provenance
from diffstab.sphere import TeacherTarget, uniform_points

TIME_TARGET_S, MEMORY_TARGET = 60.0, 3.0


def baseline(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    dual = np.linalg.solve(ntk(torch.from_numpy(x)).numpy(), y)
    return ntk(torch.from_numpy(test), torch.from_numpy(x)).numpy() @ dual


def regressor(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    return NTKRegressor().fit(x, y).predict(test)


def regressor_with_ridge(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    return NTKRegressor(ridge=1e-3).fit(x, y).predict(test)


CASES: dict[str, Callable[..., np.ndarray]] = {
    "baseline, LU": baseline,
    "NTKRegressor, no ridge": regressor,
    "NTKRegressor, ridge 1e-3": regressor_with_ridge,
}


def problem(count: int, tests: int, dimension: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    points = uniform_points(count + tests, dimension, generator=generator)
    values = TeacherTarget(width=1000).values(points[:count], generator=generator)
    return points[:count].numpy(), values.numpy(), points[count:].numpy()


def measure_memory(name: str, count: int, tests: int, dimension: int) -> float:
    """Peak memory of one fit and prediction beyond the inputs, in n x n matrices; for a fresh process."""
    CASES[name](*problem(64, 8, dimension))  # imports and thread buffers are not counted
    data = problem(count, tests, dimension)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    CASES[name](*data)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * 1024 / (8 * count**2)


def memory_in_fresh_process(name: str, count: int, tests: int, dimension: int) -> float:
    command = [sys.executable, "-m", "benchmarks.bench_ridge", "--memory-of", name]
    command += ["--size", str(count), "--tests", str(tests), "--dimension", str(dimension)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def report(count: int, tests: int, dimension: int, repeats: int) -> None:
    # Memory first: a child's peak starts at that of its parent, which must not hold a Gram matrix yet.
    memory = {name: memory_in_fresh_process(name, count, tests, dimension) for name in CASES}
    data = problem(count, tests, dimension)
    print(f"n = {count}, {tests} test points, d = {dimension}, float64, {torch.get_num_threads()} thread(s)")
    origin = provenance()
    commit = f"{origin['git_commit']}{' (dirty)' if origin['git_dirty'] else ''}"
    print(f"commit {commit}; {origin['hardware']}, torch {torch.__version__}", flush=True)
    predictions: dict[str, np.ndarray] = {}

    def seconds(name: str) -> float:
        start = time.perf_counter()
        predictions[name] = CASES[name](*data)
        return time.perf_counter() - start

    times = in_turn(CASES, seconds, repeats)
    for name, text in compared(times, "baseline, LU").items():
        share = f"{memory[name]:5.2f} matrices (target {MEMORY_TARGET:.0f})"
        print(f"{name:26s} {text} (target {TIME_TARGET_S:.0f} s), {share}")
    difference = np.abs(predictions["NTKRegressor, no ridge"] - predictions["baseline, LU"]).max()
    print(f"largest difference of the predictions without ridge: {difference:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="number n of training points")
    parser.add_argument("--tests", type=int, default=10_000, help="number of test points")
    parser.add_argument("--dimension", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--memory-of", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size, tests, dimension = arguments.size, arguments.tests, arguments.dimension
    if arguments.memory_of:
        print(json.dumps(measure_memory(arguments.memory_of, size, tests, dimension)))
    else:
        report(size, tests, dimension, arguments.repeats)


if __name__ == "__main__":
    main()
