"""Gradient flow to 99% margins: the linearly implicit flow against an adaptive Euler integrator over autograd.

    python -m benchmarks.bench_flow             # the Euler run takes minutes
    python -m benchmarks.bench_flow --quick     # seconds; too small for the target ratio

Fashion-MNIST under --data-root or DIFFSTAB_DATA (else scikit-learn's digits), parity labels, n = 256, width 1000,
softplus, alpha = 1e-6, soft hinge. The baseline is written here, plainly: float64, one autograd gradient of all
weights a step, the published acceptance rule (|g' - g|^2 / (|g| |g'|) <= 1e-4, alpha f changes by at most 0.1). Same
initial weights, same threads; each of ours runs several times, the baseline once. The outputs alpha f are compared
on test images.
"""

import argparse
import copy
import os
import statistics
import time

import torch

from datamodules import Digits, FashionMNIST
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.results import provenance
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.integrator import FlowSettings

ALPHA = 1e-6
TARGET_RATIO, TARGET_DIFFERENCE = 10, 0.02
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
    parser.add_argument("--max-steps", type=int, default=10**6, help="of the baseline; fewer to try it out")
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


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    module, origin = data(options.n, options.data_root), provenance()
    x, y = module.train_images.double(), module.train_labels.double()
    net = FCN(x[0].numel(), (options.width,), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
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


if __name__ == "__main__":
    main()
