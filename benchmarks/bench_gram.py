"""Time and memory of the tangent kernel's Gram matrix against the matrix product that it cannot do without.

Baseline, in the same run: `x @ y.T` and one arccos pass over the result, float64. Targets: at most 3 times the
baseline's time, at most 2.5 Gram matrices of memory beyond the inputs.

    python -m benchmarks.bench_gram                 # 10^4 x 10^4 at 784 dimensions
    python -m benchmarks.bench_gram --size 2000     # quick look
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.rounds import compared, in_turn
from diffstab.kernels import ntk, random_feature_kernel

TIME_TARGET, MEMORY_TARGET = 3.0, 2.5


def baseline(x: Tensor, y: Tensor | None = None) -> Tensor:
    return (x @ (x if y is None else y).T).arccos_()


CASES: dict[str, tuple[Callable[..., Tensor], bool]] = {
    "baseline, x against y": (baseline, False),
    "ntk, x against y": (ntk, False),
    "ntk, x against itself": (ntk, True),
    "random features, x against y": (random_feature_kernel, False),
    "ntk of depth 3, x against y": (lambda x, y: ntk(x, y, depth=3), False),
}


def points(count: int, dimensions: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, count, dimensions, dtype=torch.float64, generator=generator)
    return x.div_(x.norm(dim=1, keepdim=True)), y.div_(y.norm(dim=1, keepdim=True))


def seconds(name: str, x: Tensor, y: Tensor) -> float:
    function, symmetric = CASES[name]
    start = time.perf_counter()
    function(x, None if symmetric else y)
    return time.perf_counter() - start


def measure_memory(name: str, count: int, dimensions: int) -> float:
    """Peak memory of one call beyond the inputs, in Gram matrices; for a fresh process."""
    x, y = points(count, dimensions)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(name, x, y)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * 1024 / (8 * count**2)


def memory_in_fresh_process(name: str, count: int, dimensions: int) -> float:
    command = [sys.executable, "-m", "benchmarks.bench_gram", "--memory-of", name]
    command += ["--size", str(count), "--dimensions", str(dimensions)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def report(count: int, dimensions: int, repeats: int) -> None:
    # Memory first: a child's peak starts at that of its parent, which must not hold a Gram matrix yet.
    memory = {name: memory_in_fresh_process(name, count, dimensions) for name in CASES}
    x, y = points(count, dimensions)
    print(f"{count} x {count} at {dimensions} dimensions, float64, {torch.get_num_threads()} thread(s)")
    times = in_turn(CASES, lambda name: seconds(name, x, y), repeats)
    for name, text in compared(times, "baseline, x against y").items():
        share = f"{memory[name]:5.2f} Gram matrices (target {MEMORY_TARGET})"
        print(f"{name:30s} {text} (target {TIME_TARGET}), {share}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=10_000, help="number of points on each side")
    parser.add_argument("--dimensions", type=int, default=784)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(json.dumps(measure_memory(arguments.memory_of, arguments.size, arguments.dimensions)))
    else:
        report(arguments.size, arguments.dimensions, arguments.repeats)


if __name__ == "__main__":
    main()
