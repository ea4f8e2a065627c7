"""What several processes must find as one does: a script that Lightning starts again for each further process.

python -m tests.references.processes <processes> <file for the numbers>
"""

import contextlib
import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from datamodules import Digits
from diffstab.errors import ArgumentError
from diffstab.nets import FCN
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.stopping import StopRule
from diffstab.training.callbacks import StabilityProbe
from diffstab.training.task import Task


def task(name="adam", outputs=10, **options):
    net = FCN(
        64, (12,), out_features=outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    rule = StopRule(margin_share=0.4, max_steps=40)
    optimiser = OptimiserSettings(name=name, learning_rate=0.05 if name == "adam" else 2.0, stop=rule)
    loss = "cross_entropy" if outputs > 1 else "soft_hinge"
    return Task(net, loss=loss, optimiser=optimiser, **options)


def numbers(run, model):
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    weights = sum(float(p.detach().double().square().sum()) for p in model.predictor.net.parameters())
    return found | {"weights": weights, "steps": run.global_step, "epochs": run.current_epoch}


def measured(folder, processes):
    """Numbers of every case, by its name."""
    common = {
        "accelerator": "cpu",
        "devices": processes,
        "strategy": "auto" if processes == 1 else "ddp",
        "default_root_dir": folder,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    quiet = common | {"logger": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    found = {}

    def fit(name, model, data, options, callbacks=()):
        run = Trainer(**options, max_epochs=30, callbacks=[StabilityProbe(delta_px=0.5), *callbacks])
        run.fit(model, data)
        found[name] = numbers(run, model)
        found[name + ": reason"] = model.stop_reason

    # The last of the batches is of 3 images, and of 1 test image: less than there are processes.
    batches = {"size": 8, "n_train": 21, "n_test": 31, "labels": "classes", "batch_size": 6}
    fit("mini-batches", task(), Digits(**batches), quiet)
    bars = common | {"logger": CSVLogger(folder), "log_every_n_steps": 1}
    fit("with bars", task(), Digits(**batches), bars, [LearningRateMonitor()])
    # Fewer test images than three processes; the full batch by gradient descent.
    fit("full batch", task("gd", outputs=1), Digits(size=8, n_train=25, n_test=2), quiet)

    probe = StabilityProbe(delta_px=0.5, every="log", images=20)
    Trainer(**quiet, max_epochs=1, callbacks=[probe]).fit(task(xi=0.0), Digits(**batches))
    found["log-spaced schedule"] = probe.history[-1]

    data = Digits(**batches)
    data.setup()
    pairs = zip(data.test_images, data.test_labels, strict=True)
    dictionaries = [{"image": image, "label": label} for image, label in pairs]
    loader = DataLoader(dictionaries, batch_size=3)
    for name, distributed in (("torch's loader", True), ("torch's loader in each process", False)):
        probe = StabilityProbe(delta_px=0.5, fields_per_image=2)
        run = Trainer(**quiet, callbacks=[probe], use_distributed_sampler=distributed)
        (found[name],) = run.validate(task(xi=0.0), loader, verbose=False)
    run = Trainer(**quiet, callbacks=[StabilityProbe(delta_px=0.5, noise="batch")])
    (found["noise of the batch"],) = run.test(task(xi=0.0), data, verbose=False)
    try:
        Trainer(**quiet, max_epochs=1).fit(task("gradient_flow", outputs=1), Digits(size=8, n_train=20))
        found["flow"] = "ran"
    except ArgumentError as error:
        found["flow"] = str(error)
    return found


def main(processes, path):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):
        found = measured(str(Path(path).parent), int(processes))
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
