"""An epoch of Adam against a plain torch loop; and epoch, gradient flow and demo against an earlier version.

    python -m benchmarks.bench_training                        # the epoch against the plain loop
    python -m benchmarks.bench_training --old <checkout>       # and all three against those of another checkout

Epoch: scikit-learn's digits (1200 images of 784 pixels), ten classes, two hidden layers of 200, batches of 100, xi = 1;
the median over the epochs after the first two. The plain loop computes F with f_0 anew at each step, and nothing but
the gradient step. Flow: 256 of these images by parity, width 1000, alpha = 1e-6, to 99% margins. Demo: `diffstab demo`.

Times are CPU time on one thread, each of a process of its own, in turns; ratios are those of the medians of all turns.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 40
TARGET = 1.05


def digits(**options):
    from datamodules import Digits

    data = Digits(**options)
    data.setup()
    return data


def net(*hidden, outputs=1):
    import torch

    from diffstab.nets import FCN

    generator = torch.Generator().manual_seed(0)
    return FCN(784, hidden, out_features=outputs, activation="relu", generator=generator)


def plain_loop():
    """Median CPU time of an epoch of a plain torch loop."""
    import torch

    from diffstab.nets import CentredOutput

    model = CentredOutput(net(200, 200, outputs=10))
    optimiser = torch.optim.Adam(model.net.parameters(), lr=0.01)
    loader, seconds = digits(labels="classes", batch_size=100).train_dataloader(), []
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        start = time.process_time()
        for x, y in loader:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[2:])


def epoch():
    """Median CPU time of an epoch of the task that is importable, whatever its version."""
    from pytorch_lightning import Callback, Trainer

    try:
        from diffstab.solvers.optimise import OptimiserSettings, StopRule
        from diffstab.training.task import Task
    except ImportError:
        from diffstab.training.optimise import OptimiserSettings, StopRule
        from diffstab.training.tasks import ImageTask as Task

    class Clock(Callback):
        def __init__(self):
            self.seconds = []

        def on_train_epoch_start(self, trainer, pl_module):
            self.start = time.process_time()

        def on_train_epoch_end(self, trainer, pl_module):
            self.seconds.append(time.process_time() - self.start)

    stop = StopRule(margin_share=None, loss_bound=0.0, max_steps=10**9)
    settings = OptimiserSettings(name="adam", learning_rate=0.01, stop=stop)
    task, clock = Task(net(200, 200, outputs=10), loss="cross_entropy", optimiser=settings), Clock()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options = {"max_epochs": EPOCHS, "accelerator": "cpu", "callbacks": [clock], "limit_val_batches": 0}
    Trainer(**options, **dict.fromkeys(off, False)).fit(task, digits(labels="classes", batch_size=100))
    return statistics.median(clock.seconds[2:])


def flow():
    """CPU time of a gradient flow of the version that is importable."""
    from diffstab.nets import CentredOutput, make_loss

    try:
        from diffstab.solvers.flow import GradientFlow
    except ImportError:
        from diffstab.training.flow import GradientFlow

    data, model = digits(n_train=256), CentredOutput(net(1000), alpha=1e-6)
    solver, start = GradientFlow(model, make_loss("soft_hinge", alpha=1e-6)), time.process_time()
    solver.run(data.train_images, data.train_labels)
    return time.process_time() - start


def demo():
    """CPU time of the demo of the version that is importable, its imports included."""
    with tempfile.TemporaryDirectory() as folder:
        from diffstab.demo import main

        main(["--no-open", "--results", folder])
    return time.process_time()


def timed(what, checkout):
    """CPU seconds of a case, in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--inner", what]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compared(cases, turns):
    """Seconds of each case, (what, checkout) by name, over the turns."""
    found = {name: [] for name in cases}
    for _ in range(turns):
        for name, (what, checkout) in cases.items():
            found[name].append(timed(what, checkout))
    return found


def shown(found):
    """Print the medians, and their ratios to that of the first case."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    first = next(iter(medians))
    for name, values in found.items():
        spread = f"{min(values):.3g} to {max(values):.3g} over {len(values)} turns"
        ratio = "" if name == first else f"; {first} / {name}: {medians[first] / medians[name]:.3f}"
        print(f"{name:<14} {medians[name]:.3g} s ({spread}){ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--old", type=Path, help="checkout of an earlier version, to compare with")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--inner", choices=("plain_loop", "epoch", "flow", "demo"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        print(json.dumps(globals()[options.inner]()))
        return
    from diffstab.results import provenance

    print({name: value for name, value in provenance().items() if name in ("git_commit", "hardware")})
    shown(compared({"epoch": ("epoch", ROOT), "plain loop": ("plain_loop", ROOT)}, options.turns))
    for what in ("epoch", "flow", "demo") if options.old else ():
        pair = {what: (what, ROOT), f"earlier {what}": (what, options.old.resolve())}
        shown(compared(pair, options.turns))
    if options.old:
        print("target: at most", TARGET, "times the earlier version")


if __name__ == "__main__":
    main()
