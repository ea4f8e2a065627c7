"""An epoch of Adam in mini-batches by the task, against a plain torch loop, and against an earlier version of the task.

    python -m benchmarks.bench_training                        # the task against the plain loop
    python -m benchmarks.bench_training --old <checkout>       # and against that of another checkout

Scikit-learn's digits (1200 images of 784 pixels), ten classes, two hidden layers of 200, batches of 100, xi = 1. The
plain loop computes F with f_0 anew at each step, and nothing but the gradient step. Each is timed in a process of its
own, one after the other in turns; an epoch is the median over the epochs after the first two. Ratios are those of the
medians of all turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 40
TARGET = 1.05


def plain_loop():
    """Seconds of each epoch of a plain torch loop."""
    import torch

    from datamodules import Digits
    from diffstab.nets import FCN, CentredOutput

    data = Digits(labels="classes", batch_size=100)
    data.setup()
    net = FCN(784, (200, 200), out_features=10, activation="relu", generator=torch.Generator().manual_seed(0))
    model = CentredOutput(net)
    optimiser = torch.optim.Adam(model.net.parameters(), lr=0.01)
    loader, seconds = data.train_dataloader(), []
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        start = time.perf_counter()
        for x, y in loader:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def task():
    """Seconds of each epoch of the task that is importable, whatever its version."""
    import logging

    import torch
    from pytorch_lightning import Callback, Trainer

    from datamodules import Digits
    from diffstab.nets import FCN

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
            self.start = time.perf_counter()

        def on_train_epoch_end(self, trainer, pl_module):
            self.seconds.append(time.perf_counter() - self.start)

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    net = FCN(784, (200, 200), out_features=10, activation="relu", generator=torch.Generator().manual_seed(0))
    stop = StopRule(margin_share=None, loss_bound=0.0, max_steps=10**9)
    settings = OptimiserSettings(name="adam", learning_rate=0.01, stop=stop)
    clock = Clock()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[clock],
        limit_val_batches=0,
        **dict.fromkeys(off, False),
    )
    trainer.fit(Task(net, loss="cross_entropy", optimiser=settings), Digits(labels="classes", batch_size=100))
    return clock.seconds


def timed(what, checkout, threads):
    """Median seconds of an epoch, in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--inner", what]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return statistics.median(json.loads(done.stdout.splitlines()[-1])[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--old", help="checkout of an earlier version, to compare with")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inner", choices=("plain_loop", "task"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(globals()[options.inner]()))
        return
    from diffstab.results import provenance

    runs = {"plain loop": ("plain_loop", ROOT), "task": ("task", ROOT)}
    if options.old:
        runs["earlier task"] = ("task", Path(options.old).resolve())
    found = {name: [] for name in runs}
    for _ in range(options.turns):
        for name, (what, checkout) in runs.items():
            found[name].append(timed(what, checkout, options.threads))
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        spread = f"{min(values) * 1e3:.1f} to {max(values) * 1e3:.1f}"
        print(f"{name:<13} {medians[name] * 1e3:7.1f} ms an epoch ({spread} over {len(values)} turns)")
    for name in found.keys() - {"task"}:
        print(f"task / {name}: {medians['task'] / medians[name]:.3f}")
    if "earlier task" in medians:
        print("target: at most", TARGET, "times the earlier task")
    print({name: value for name, value in provenance().items() if name in ("git_commit", "git_dirty", "cpu")})


if __name__ == "__main__":
    main()
