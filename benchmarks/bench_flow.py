"""Gradient flow to 99% margins: the linearly implicit flow against an adaptive Euler integrator over autograd.

    python -m benchmarks.bench_flow             # the Euler run takes minutes
    python -m benchmarks.bench_flow --quick     # seconds; too small for the target ratio
    python -m benchmarks.bench_flow --sizes 1024 4096 --threads 2 --old CHECKOUT

Fashion-MNIST under --data-root or DIFFSTAB_DATA (else scikit-learn's digits), parity labels, n = 256, width 1000,
softplus, alpha = 1e-6, soft hinge. The baseline is written here, plainly: float64, one autograd gradient of all
weights a step, the published acceptance rule (|g' - g|^2 / (|g| |g'|) <= 1e-4, alpha f changes by at most 0.1). Same
initial weights, same threads; each of ours runs several times, the baseline once. The outputs alpha f are compared
on test images.

With --sizes the flow runs in float32 at its default tolerance, each size in a process of its own, against that of
another checkout if one is given. Target: n = 4096 in 600 s on two cores.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from datamodules import Digits, FashionMNIST
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.results import provenance
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.integrator import FlowSettings

ALPHA = 1e-6
TARGET_RATIO, TARGET_DIFFERENCE = 10, 0.02
SIZE_TARGETS_S = {4096: 600}
ROOT = Path(__file__).resolve().parent.parent
RUNS = (
    *((torch.float32, tolerance) for tolerance in (1e-3, 5e-4, 3e-4)),
    (torch.float64, 3e-4),
)
"""Types and tolerances of ours."""


def euler(model, loss, x, y, *, max_steps):
    parameters = list(model.net.parameters())

    def evaluate():
        outputs = model(x)
        return outputs.detach(), torch.autograd.grad(loss(outputs, y), parameters)

    outputs, gradient = evaluate()
    step, taken = 1e-3, 0
    while (y * outputs >= 1).double().mean() < 0.99 and taken < max_steps:
        start = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter, slope in zip(parameters, gradient):
                parameter -= step * slope
        new_outputs, new_gradient = evaluate()
        change = sum(((b - a) ** 2).sum() for a, b in zip(gradient, new_gradient))
        norms = [sum((g**2).sum() for g in part).sqrt() for part in (gradient, new_gradient)]
        if change / (norms[0] * norms[1]) <= 1e-4 and (new_outputs - outputs).abs().max() <= 0.1:
            outputs, gradient, step, taken = new_outputs, new_gradient, step * 1.1, taken + 1
        else:
            step /= 10
            with torch.no_grad():
                for parameter, before in zip(parameters, start):
                    parameter.copy_(before)
    return taken


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def data(n, root):
    fashion = {"n_test": 2000, "root": root}
    module = FashionMNIST(n_train=n, seed=0, **fashion) if root else Digits(n_train=n, seed=0)
    module.prepare_data()
    module.setup()
    return module


def ours(net, x, y, *, dtype, tolerance):
    model = CentredOutput(copy.deepcopy(net).to(dtype), alpha=ALPHA)
    flow = GradientFlow(model, make_loss("soft_hinge", alpha=ALPHA), FlowSettings(weight_tolerance=tolerance))
    return model, flow.run(x.to(dtype), y.to(dtype))


def parsed():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--max-steps",
        type=int,
        default=10**6,
        help="of the baseline, or of each size; fewer to try it out",
    )
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of training images to time alone")
    parser.add_argument("--activation", choices=("softplus", "relu"), default="softplus", help="with --sizes")
    parser.add_argument("--old", type=Path, help="checkout of another version, with --sizes")
    parser.add_argument("--case", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--data-root", default=os.environ.get("DIFFSTAB_DATA"), help="folder of Fashion-MNIST"
    )
    parser.add_argument("--quick", action="store_true", help="n = 64, width 300, one repeat")
    options = parser.parse_args()
    if options.quick:
        options.n, options.width, options.repeats = 64, 300, 1
    return options


def repeated(net, module, *, dtype, tolerance, repeats):
    """Seconds of each repeat, outputs on the test images and the last status."""
    x, y = module.train_images.double(), module.train_labels.double()
    runs = [timed(lambda: ours(net, x, y, dtype=dtype, tolerance=tolerance)) for _ in range(repeats)]
    model, status = runs[-1][1]
    return [seconds for seconds, _ in runs], model(module.test_images.to(dtype)).detach().double(), status


def compared(times, outputs, status, *, seconds, expected):
    """Return a line that compares repeats with the baseline."""
    median = statistics.median(times)
    difference = float((outputs - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    return (
        f"{median:.1f} s ({min(times):.1f} to {max(times):.1f}), {status.steps} steps, "
        f"{seconds / median:.1f} x faster (target {TARGET_RATIO}), "
        f"outputs differ by {difference:.2%} rms (target {TARGET_DIFFERENCE:.0%})"
    )


def first_net(images, options, dtype):
    generator = torch.Generator().manual_seed(0)
    shape = {"in_features": images[0].numel(), "hidden": (options.width,)}
    return FCN(**shape, activation=options.activation, generator=generator, dtype=dtype)


def measured(options):
    """Print seconds, steps and outputs of one size, of whichever version is imported."""
    module = data(options.n, options.data_root)
    x, y = module.train_images.float(), module.train_labels.float()
    model = CentredOutput(first_net(x, options, torch.float32), alpha=ALPHA)
    flow, cpu = GradientFlow(model, make_loss("soft_hinge", alpha=ALPHA)), time.process_time()
    seconds, status = timed(lambda: flow.advance(x, y, options.max_steps))
    told = {"seconds": seconds, "cpu": time.process_time() - cpu, **status._asdict()}
    print(json.dumps({**told, "outputs": model(module.test_images.float()).tolist()}))


def of_checkout(checkout, n, options):
    """Return what `measured` tells of a size in a process that imports another checkout."""
    command = [sys.executable, __file__, "--case", "--n", str(n), "--data-root", options.data_root or ""]
    for name in ("width", "threads", "max_steps", "activation"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(options.threads)}
    return json.loads(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    )


def time_sizes(options):
    """Print a line for each size and version."""
    origin = provenance()
    print(
        f"commit {origin['git_commit']}; {origin['hardware']}, {options.threads} thread(s), {options.activation}"
    )
    checkouts = {"new": ROOT, **({"old": options.old.resolve()} if options.old else {})}
    for n in options.sizes:
        told = {name: of_checkout(checkout, n, options) for name, checkout in checkouts.items()}
        for name, one in told.items():
            target = f" (target {SIZE_TARGETS_S[n]})" if name == "new" and n in SIZE_TARGETS_S else ""
            print(
                f"n = {n}, {name}: {one['seconds']:.1f} s{target}, {one['cpu']:.1f} s of CPU, {one['steps']} steps, "
                f"{one['rejected']} refused, {one['reason'] or 'not ended'} at time {one['time']:.0f}",
                flush=True,
            )
        if options.old:
            new, old = (torch.tensor(told[name]["outputs"], dtype=torch.float64) for name in ("new", "old"))
            ratio = told["new"]["cpu"] / told["old"]["cpu"]
            print(
                f"n = {n}: {ratio:.2f} of the CPU time, outputs differ by {(new - old).norm() / old.norm():.2%} rms"
            )


def against_euler(options):
    """Print the time of Euler over autograd, and a line for each of ours."""
    module, origin = data(options.n, options.data_root), provenance()
    x, y = module.train_images.double(), module.train_labels.double()
    net = first_net(x, options, torch.float64)
    commit = f"{origin['git_commit']}{' with changes' if origin['git_dirty'] else ''}"
    print(f"{module.name}, n = {options.n}, width {options.width}")
    print(f"commit {commit}; {origin['hardware']}, torch {torch.__version__}", flush=True)

    baseline, loss = CentredOutput(copy.deepcopy(net), alpha=ALPHA), make_loss("soft_hinge", alpha=ALPHA)
    seconds, steps = timed(lambda: euler(baseline, loss, x, y, max_steps=options.max_steps))
    expected = baseline(module.test_images.double()).detach()
    print(f"Euler over autograd, float64: {seconds:.1f} s, {steps} steps", flush=True)
    for dtype, tolerance in RUNS:
        found = repeated(net, module, dtype=dtype, tolerance=tolerance, repeats=options.repeats)
        line = compared(*found, seconds=seconds, expected=expected)
        print(f"{str(dtype)[6:]}, tolerance {tolerance:g}: {line}", flush=True)


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.case:
        measured(options)
    elif options.sizes:
        time_sizes(options)
    else:
        against_euler(options)


if __name__ == "__main__":
    main()
