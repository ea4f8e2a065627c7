"""The exact lazy limit on many images: time, memory and predictions against a dense factorisation.

Baselines at n = 8192, in the same run: `scipy.linalg.cho_solve` in float64 on the matrix of `diffstab.kernels.ntk`,
once for each ridge, and scikit-learn's `KernelRidge` on the same matrix. Targets: predictions within 1e-3 of Cholesky;
n = 60,000 in 10 minutes and 16 GB of anonymous memory (files that are mapped into memory do not count).

    DIFFSTAB_DATA=... python -m benchmarks.bench_lazy                  # MNIST, n = 8192
    DIFFSTAB_DATA=... python -m benchmarks.bench_lazy --size 60000     # all of it, without baselines
    python -m benchmarks.bench_lazy --size 1000 --data Digits          # quick look
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor

import datamodules
from diffstab.experiments.lazy import class_targets
from diffstab.kernels import RidgePathSettings, fit_ridge_path, ntk
from diffstab.results import provenance

RIDGES = (1e-2, 1e-4, 1e-6)
LARGEST_BASELINE = 10_000
TIME_TARGET_S, MEMORY_TARGET_GB, PREDICTION_TARGET = 600, 16, 1e-3


def problem(data: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    module = getattr(datamodules, data)(n_train=count, n_test=None)
    module.prepare_data()
    module.setup()
    return module.train_images, class_targets(module.train_classes), module.test_images[:2000]


def cholesky(
    images: Tensor, targets: Tensor, test: Tensor, depth: int
) -> tuple[np.ndarray, dict[str, object]]:
    gram, new = ntk(images, depth=depth).numpy(), ntk(test, images, depth=depth).numpy()
    mean, found = np.diag(gram).mean(), []
    for ridge in RIDGES:
        system = gram.copy()
        np.einsum("ii->i", system)[:] += ridge * mean
        factor = scipy.linalg.cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        found.append(new @ scipy.linalg.cho_solve(factor, targets.numpy()))
    return np.stack(found, axis=1), {}


def scikit_learn(
    images: Tensor, targets: Tensor, test: Tensor, depth: int
) -> tuple[np.ndarray, dict[str, object]]:
    gram, new = ntk(images, depth=depth).numpy(), ntk(test, images, depth=depth).numpy()
    mean = np.diag(gram).mean()
    found = [
        KernelRidge(alpha=ridge * mean, kernel="precomputed").fit(gram, targets.numpy()).predict(new)
        for ridge in RIDGES
    ]
    return np.stack(found, axis=1), {}


def path(images: Tensor, targets: Tensor, test: Tensor, depth: int) -> tuple[np.ndarray, dict[str, object]]:
    clock = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        settings = RidgePathSettings(depth=depth, ridges=RIDGES)

        def tell(values):
            if values.get("matrix") == 1:
                clock.append(time.perf_counter())

        found = fit_ridge_path(images, targets, settings, folder=Path(folder), tell=tell)
        clock.append(time.perf_counter())
        predicted = found.predict(test).numpy()
    told = {
        "matrix_s": round(clock[1] - clock[0], 1),
        "solve_s": round(clock[2] - clock[1], 1),
        "residual": [f"{one:.1e}" for one in found.residual.tolist()],
        "exact_residual": [f"{one:.1e}" for one in found.exact_residual.tolist()],
        "steps": found.steps.tolist(),
    }
    return predicted, told


CASES: dict[str, Callable[..., tuple[np.ndarray, dict[str, object]]]] = {
    "baseline, Cholesky": cholesky,
    "scikit-learn": scikit_learn,
    "fit_ridge_path": path,
}


class AnonymousPeak:
    """Largest anonymous memory of this process while it is open, in GB, looked at ten times a second."""

    def __enter__(self) -> "AnonymousPeak":
        self.peak, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            lines = Path("/proc/self/status").read_text().splitlines()
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.peak = max(self.peak, kilobytes / 1e6)


def measured(case: str, arguments: argparse.Namespace, output: str) -> None:
    """Run one case in this process, and print its times and memory."""
    data = problem(arguments.data, arguments.size)
    clocks = time.perf_counter(), time.process_time()
    with AnonymousPeak() as memory:
        predicted, told = CASES[case](*data, arguments.depth)
    seconds, cpu = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    np.save(output, predicted)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": memory.peak, "told": told}))


def in_own_process(case: str, arguments: argparse.Namespace, output: str) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.bench_lazy",
        "--size",
        str(arguments.size),
        "--data",
        arguments.data,
    ]
    command += ["--depth", str(arguments.depth), "--threads", str(arguments.threads), "--case", case]
    run = subprocess.run([*command, "--output", output], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def report(arguments: argparse.Namespace) -> None:
    origin = provenance()
    print(f"{arguments.data}, n = {arguments.size}, depth {arguments.depth}, ridges {RIDGES}, 11 targets")
    print(f"commit {origin['git_commit']}, {origin['hardware']}, {arguments.threads} thread(s)", flush=True)
    cases = list(CASES) if arguments.size <= LARGEST_BASELINE else ["fit_ridge_path"]
    predicted, base = {}, None
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            output = str(Path(folder) / "predicted.npy")
            found = in_own_process(case, arguments, output)
            predicted[case] = np.load(output)
        base = base or found["seconds"]
        ratio = f"{found['seconds'] / base:5.2f} x baseline, " if len(cases) > 1 else ""
        print(
            f"{case:20s} {found['seconds']:7.1f} s ({found['cpu']:.1f} s CPU), {ratio}"
            f"{found['peak']:.2f} GB anonymous at most. {found['told'] or ''}",
            flush=True,
        )
    if len(cases) > 1:
        difference = np.abs(predicted["fit_ridge_path"] - predicted["baseline, Cholesky"]).max(axis=(0, 2))
        texts = ", ".join(f"{one:.1e}" for one in difference)
        print(
            f"largest difference of predictions from Cholesky at each ridge: {texts} (target {PREDICTION_TARGET})"
        )
    else:
        print(f"targets: {TIME_TARGET_S} s, {MEMORY_TARGET_GB} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="number n of training images")
    parser.add_argument("--data", default="MNIST", help="class of datamodules")
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case:
        measured(arguments.case, arguments, arguments.output)
    else:
        report(arguments)


if __name__ == "__main__":
    main()
