"""Exact feature predictor: time to a certified gap of 1e-4, against training by gradient descent.

Constant target, uniform points. Targets on 2 cores: d = 3: n = 64 0.5 s, 256 5 s, 512 30 s, 1024 20 s, 4096 600 s;
d = 5: n = 256 40 s. CPU time stands beside wall time; to time another version, run this file with that version's
checkout first on PYTHONPATH (`--cases 3,512 3,1024`).

At n = 64 a fit should take a hundredth of the time that projected gradient descent on 10^4 neurons takes to come within
1% of the exact objective of the same penalty, for a solution certified to 1% and for one to 1e-4. The descent runs in
the same process: as published, and in the balanced, accelerated form that diffstab uses by default. Where the
convex-net package `pyscnn` is installed, its objective at equal penalty is set beside ours, both evaluated here.

    python -m benchmarks.bench_minnorm            # n = 4096 alone takes some nine minutes
    python -m benchmarks.bench_minnorm --quick    # n <= 256, median of 1
    python -m benchmarks.bench_minnorm --cases 3,1024
"""

import argparse
import importlib.util
import itertools
import json
import resource
import statistics
import time
import warnings

import numpy as np
import torch

from diffstab.results import provenance
from diffstab.solvers.sphere import train_sphere
from diffstab.solvers.sphere_net import SphereTraining
from diffstab.sphere import MinNormReLU, uniform_points

TARGETS_S = {(3, 64): 0.5, (3, 256): 5.0, (3, 512): 30.0, (3, 1024): 20.0, (3, 4096): 600.0, (5, 256): 40.0}
RATIO_TARGET = 100.0
PENALTY, WIDTH, CLOSE = 1e-5, 10_000, 1.01
MAX_STEPS = 100_000


def points_of(dimension: int, count: int, seed: int) -> torch.Tensor:
    return uniform_points(count, dimension, generator=torch.Generator().manual_seed(seed))


def exact_times(dimension: int, count: int, repeats: int) -> dict[str, object]:
    rows = []
    for seed in range(repeats):
        points = points_of(dimension, count, seed).numpy()
        start, cpu = time.perf_counter(), time.process_time()
        model = MinNormReLU(tol=1e-4).fit(points, np.ones(count))
        rows.append((time.perf_counter() - start, model, time.process_time() - cpu))
    seconds = [row[0] for row in rows]
    return {
        "d": dimension,
        "n": count,
        "median_s": round(statistics.median(seconds), 3),
        "range_s": [round(min(seconds), 3), round(max(seconds), 3)],
        "median_cpu_s": round(statistics.median(row[2] for row in rows), 3),
        "target_s": TARGETS_S.get((dimension, count)),
        "largest_gap": max(row[1].gap_ for row in rows),
        "most_atoms": max(len(row[1].weights_) for row in rows),
        "certificate": rows[0][1].certificate_,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def against_convex_net() -> list[dict[str, object]]:
    """Penalised objectives of a wave on 32 points, ours and of pyscnn's augmented Lagrangian on 1000 neurons."""
    if importlib.util.find_spec("scnn") is None:
        return [{"convex net": "pyscnn is not installed"}]
    optimize = importlib.import_module("scnn.optimize").optimize
    group_norm = importlib.import_module("scnn.regularizers").NeuronGL1
    rows: list[dict[str, object]] = []
    for dimension, penalty in itertools.product((2, 3), (1e-2, 1e-3)):
        points = points_of(dimension, 32, 0).numpy()
        targets = points[:, 0] ** 2 - points[:, -2] * points[:, -1]
        ours = MinNormReLU(penalty=penalty).fit(points, targets)
        settings = {"unitize_data": False, "dtype": "float64"}
        model, _ = optimize("relu", 1000, points, targets, regularizer=group_norm(penalty), **settings)
        first, second = (np.asarray(part, dtype=float) for part in model.parameters)
        misfit = targets - np.maximum(points @ first.T, 0) @ second.ravel()
        norm = np.abs(second.ravel()) @ np.linalg.norm(first, axis=1)
        theirs = float(misfit @ misfit) / (2 * len(targets)) + penalty * float(norm)
        rows.append({"d": dimension, "penalty": penalty, "ours": ours.objective_, "pyscnn": theirs})
    return rows


def against_descent(repeats: int) -> list[dict[str, object]]:
    rows = []
    for plain in (True, False):
        pairs = [descent_pair(seed, plain=plain) for seed in range(repeats)]
        close, exact, trained = (
            statistics.median(pair[side] for pair in pairs) for side in ("close_s", "exact_s", "trained_s")
        )
        name = "as published" if plain else "balanced and accelerated"
        rows.append(
            {
                "descent": f"projected GD, {name}",
                "descent_s": round(trained, 3),
                "exact_within_1%_s": round(close, 4),
                "ratio": round(trained / close, 1),
                "exact_within_1e-4_s": round(exact, 4),
                "ratio_to_1e-4": round(trained / exact, 1),
                "target": RATIO_TARGET,
                "steps": statistics.median(pair["steps"] for pair in pairs),
                "reached": all(pair["reached"] for pair in pairs),
            }
        )
    return rows


def descent_pair(seed: int, *, plain: bool) -> dict[str, float]:
    points = points_of(3, 64, seed)
    seconds = {}
    for tolerance in (CLOSE - 1, 1e-4):
        start = time.perf_counter()
        exact = MinNormReLU(penalty=PENALTY, tol=tolerance).fit(points.numpy(), np.ones(64))
        seconds[tolerance] = time.perf_counter() - start
    bound = CLOSE * exact.objective_
    settings = SphereTraining(
        width=WIDTH, penalty=PENALTY, max_steps=MAX_STEPS, tolerance=0.0, objective_bound=bound, plain=plain
    )
    start = time.perf_counter()
    outcome = train_sphere(points, torch.ones(64, dtype=torch.float64), settings)
    return {
        "close_s": seconds[CLOSE - 1],
        "exact_s": seconds[1e-4],
        "trained_s": time.perf_counter() - start,
        "steps": outcome.steps,
        "reached": outcome.objective <= bound,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="n <= 256, one draw each")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for the descent")
    parser.add_argument(
        "--cases", nargs="+", metavar="D,N", help="only these dimensions and numbers of points"
    )
    options = parser.parse_args()
    quick = options.quick
    warnings.simplefilter("error")
    torch.set_num_threads(options.threads)
    exact_times(3, 64, 1)  # the first call pays for imports
    cases = [tuple(map(int, case.split(","))) for case in options.cases or ()] or list(TARGETS_S)
    for dimension, count in cases:
        if quick and count > 256:
            continue
        print(json.dumps(exact_times(dimension, count, 1 if quick or count > 256 else 3)), flush=True)
    if not options.cases:
        for row in against_descent(1 if quick else 3) + against_convex_net():
            print(json.dumps(row), flush=True)
    print(json.dumps({"threads": torch.get_num_threads(), **provenance()}, default=str))


if __name__ == "__main__":
    main()
