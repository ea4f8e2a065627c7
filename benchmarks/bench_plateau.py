"""Time to train restarts x widths of L2-regularised nets together, against one net after another.

Baseline, in the same run: `torch.nn` modules and `torch.optim.Adam` with autograd, net by net, on the same inputs, from
the same initial weights, for the same steps at the same rates. Target: at least 4 times faster, same losses.

    python -m benchmarks.bench_plateau                       # a teacher, and MNIST if DIFFSTAB_DATA is set
    python -m benchmarks.bench_plateau --steps 50            # quick look
"""

import argparse
import math
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import nn

from datamodules import MNIST, TeacherNetwork
from diffstab.l2 import L2Problem
from diffstab.l2.descent import DescentSettings, draw_runs, train_widths
from diffstab.l2.reduction import reduced_inputs
from diffstab.results import provenance

TARGET = 4.0


def teacher() -> tuple[L2Problem, list[int]]:
    data = TeacherNetwork(widths=[10, 10, 10, 1], n_train=100, n_test=1, seed=0)
    data.setup()
    inputs, targets = data.train_inputs.T.contiguous(), data.train_targets.T.contiguous()
    return L2Problem(inputs, targets, penalty=1e-3, depth=3), [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30]


def mnist() -> tuple[L2Problem, list[int]]:
    data = MNIST(n_train=1000, n_test=10, labels="classes")
    data.prepare_data()
    data.setup()
    pixels = data.train_images.flatten(1).double().T
    inputs = reduced_inputs(pixels)[0].float()
    problem = L2Problem(inputs, data.train_labels, cost="cross_entropy", classes=10, penalty=3e-3, depth=3)
    return problem, [2, 4, 6, 8, 9, 10, 11, 12, 14, 16, 20, 30]


class Net(nn.Module):
    """A plain relu net without biases."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for weight in weights:
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
            linear.weight.data.copy_(weight)
            layers += [linear, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs, one row per point."""
        return self.layers(inputs)


def plain_loop(
    problem: L2Problem, widths: list[int], restarts: int, settings: DescentSettings
) -> list[float]:
    """Train net after net and return their losses."""
    losses = []
    inputs = problem.inputs.T.contiguous()
    entropy, square = nn.CrossEntropyLoss(), nn.MSELoss(reduction="sum")

    def loss_of(net: Net) -> torch.Tensor:
        outputs = net(inputs)
        norm = sum(parameter.square().sum() for parameter in net.parameters())
        if problem.cost == "mse":
            return square(outputs, problem.targets.T) / (2 * len(inputs)) + problem.penalty * norm
        return entropy(outputs, problem.targets) + problem.penalty * norm

    for run in draw_runs(problem, widths, restarts=restarts, seed=0, gain=settings.gain):
        net = Net(run.weights)
        optimiser = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
        for step in range(settings.adam_steps):
            for group in optimiser.param_groups:
                share = step / settings.adam_steps
                group["lr"] = settings.learning_rate * math.cos(math.pi / 2 * share) ** 2
            optimiser.zero_grad()
            loss_of(net).backward()
            optimiser.step()
        losses.append(float(loss_of(net).detach()))
    return losses


def together(problem: L2Problem, widths: list[int], restarts: int, settings: DescentSettings) -> list[float]:
    found = train_widths(problem, widths, restarts=restarts, seed=0, settings=settings)
    return [run.loss for run in found]


TRAINERS = {"plain loop": plain_loop, "together": together}
CASES = {"teacher, float64": teacher, "MNIST, float32": mnist}


def timed(name: str, label: str, restarts: int, steps: int, threads: int) -> tuple[float, list[float]]:
    """Return seconds and losses of one way to train one case."""
    torch.set_num_threads(threads)
    problem, widths = CASES[name]()
    start = time.perf_counter()
    settings = DescentSettings(adam_steps=steps, finish_steps=0)
    losses = TRAINERS[label](problem, widths, restarts, settings)
    return time.perf_counter() - start, losses


def report(name: str, restarts: int, steps: int, repeats: int, threads: int) -> None:
    problem, widths = CASES[name]()
    times: dict[str, list[float]] = {label: [] for label in TRAINERS}
    losses: dict[str, list[float]] = {}
    for _ in range(repeats):  # round robin, so that a busy machine slows both alike
        for label, past in times.items():
            # A process each: the threads that autograd leaves waiting would slow what runs after it.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found = process.submit(timed, name, label, restarts, steps, threads).result()
            past.append(found[0])
            losses[label] = found[1]
    print(
        f"{name}: N = {problem.points}, depth {problem.depth}, widths {widths}, {restarts} restarts, {steps} steps"
    )
    for label, past in times.items():
        print(f"  {label:11s} {statistics.median(past):7.2f} s ({min(past):.2f} to {max(past):.2f})")
    ratios = [slow / fast for slow, fast in zip(times["plain loop"], times["together"], strict=True)]
    pairs = list(zip(losses["plain loop"], losses["together"], strict=True))
    differences = sorted(abs(one - other) / one for one, other in pairs)
    print(
        f"  ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}; target {TARGET:.0f})"
    )
    print(
        f"  relative difference of the losses: median {statistics.median(differences):.1e}, "
        f"largest {differences[-1]:.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of Adam, for each net")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    origin = provenance()
    commit = f"{origin['git_commit']}{' (dirty)' if origin['git_dirty'] else ''}"
    print(f"commit {commit}; {origin['hardware']}, torch {torch.__version__}, {arguments.threads} thread(s)")
    for name in CASES:
        if name.startswith("teacher") or os.environ.get("DIFFSTAB_DATA"):
            report(name, arguments.restarts, arguments.steps, arguments.repeats, arguments.threads)


if __name__ == "__main__":
    main()
