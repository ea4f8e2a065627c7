"""Nets that the runs of a sweep of `diffstab fit` trained, as models that can be measured."""

from __future__ import annotations

import importlib
import inspect
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.fit import FITS, FitExperiment
from diffstab.grid.cluster import Engine
from diffstab.grid.plan import Plan, make_plan
from diffstab.grid.running import check_all_ran, run_plan
from diffstab.grid.sweep_file import read_sweep
from diffstab.nets.factories import build
from diffstab.nets.model_options import ModelChoice
from diffstab.nets.weights import put_weights, read_weights
from diffstab.results import read_records, write_atomically

WEIGHTS = "weights"
"""Folder, in the results folder of a sweep, with the weights of each net in a file that is named after it."""

_OF_THE_DATA = {"in_features", "in_channels", "size", "out_features", "generator", "dtype"}
"""Arguments of a net that follow from the data, or change no function."""
_OF_A_TRAINING = {
    "n_train",
    "n_test",
    "seed",
    "labels",
    "normalisation",
    "batch_size",
    "augmentation",
    "root",
}
"""Arguments of a data module that change no test image."""
_WORDS = {"DeformationAugmentation": "deformed", "AdversarialImages": "adversarial"}
"""What the images are that a net was trained on, by the class that changed them."""
PLAIN = "plain"
_ERRORS = {"test_error": "val", "train_error": "train"}
"""Columns of a row, and what begins their names in the record of a training."""


@dataclass(frozen=True)
class TrainedNet:
    """A net that a run trained.

    Attributes:
        label: Tells it apart from the others of its sweep.
        choice: It as a model, with its file of weights.
        data: Description of the data module of its test images.
        columns: What stands in its row beside what is measured: architecture, family, n_train, training, train_seed,
            test_error over all test images of its data module, n_test (None for all), train_error.
    """

    label: str
    choice: ModelChoice
    data: str | dict[str, Any]
    columns: dict[str, Any]


def train(sweep: str | Path, folder: Path, *, workers: int | None = None) -> list[TrainedNet]:
    """Train the nets of a sweep, those that are not trained yet, and write their weights.

    Args:
        sweep: File of a sweep of `diffstab fit`.
        folder: Results folder.
        workers: Processes; None is one per core.

    Raises:
        ArgumentError: The sweep is of another command, a net cannot stand in a table (other images than those in
            [0, 1], a centred output, no number of training images), or two nets have one label.
        RunError: Runs failed.
    """
    plan = make_plan(read_sweep(sweep))
    nets = [_described(config) for config in _configs(plan)]
    labels = [label for label, _ in nets]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        condition = "give nets that differ in architecture, n_train, augmentation or seed"
        raise ArgumentError("parameters", condition, f"two of {twice[0]}")
    engine = None if workers == 1 else Engine(workers)
    check_all_ran(run_plan(plan, folder, where=engine, retry_failed=True), folder)
    records = read_records(folder).set_index("key")
    found = []
    for (label, columns), key, config in zip(nets, plan.keys, _configs(plan), strict=True):
        path = _write_weights(folder, key, label, config)
        choice = ModelChoice(**_model(config), weights=str(path))
        errors = {name: _number(records, key, f"{of}_error") for name, of in _ERRORS.items()}
        found.append(TrainedNet(label, choice, _data(config), {**columns, **errors}))
    return found


def _configs(plan: Plan) -> Iterator[dict[str, Any]]:
    for batch in plan.batches:
        if not isinstance(batch.experiment, FitExperiment) or batch.experiment.name != "fit":
            raise ArgumentError("train", "name sweeps of diffstab fit", f"one of {batch.experiment.name}")
        yield batch.experiment.config


def _described(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the label of a net, and what its row tells of it."""
    data, net, seed = config["data"]["init_args"], config["model"]["net"], int(config["seed_everything"])
    given = {"labels": "classes", "normalisation": "none"}
    for name, value in given.items():
        if data[name] != value:
            way_out = "The nets of a table take images in [0, 1] and tell classes."
            raise ArgumentError(f"data.{name}", f"be {value}", data[name], way_out)
    if config["model"]["xi"]:
        raise ArgumentError("model.xi", "be 0", config["model"]["xi"], "What is measured is the net alone.")
    if data["n_train"] is None:
        raise ArgumentError("data.n_train", "be a number", None, "60000, say: the law is fitted along it.")
    changes = list(_changes(config))
    architecture = named(net["class_path"], net["init_args"])
    words = [_WORDS.get(_class(path), _class(path)) for path, _ in changes] or [PLAIN]
    told = [f"{word}{_rest(path, args)}" for word, (path, args) in zip(words, changes)] or [PLAIN]
    label = ", ".join([architecture, f"n = {data['n_train']}", *told, *([f"seed {seed}"] if seed else [])])
    columns = {"architecture": architecture, "family": _class(net["class_path"]), "n_train": data["n_train"]}
    return label, {
        **columns,
        "training": " and ".join(words),
        "train_seed": seed,
        "n_test": data["n_test"],
    }


def _changes(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what changes the training images: class path and arguments of each."""
    if augmentation := config["data"]["init_args"].get("augmentation"):
        yield augmentation["class_path"], augmentation.get("init_args") or {}
    for callback in config["trainer"].get("callbacks") or []:
        if getattr(_at(callback["class_path"]), "changes_images", False):
            yield callback["class_path"], callback.get("init_args") or {}


def named(class_path: str, init_args: Mapping[str, Any]) -> str:
    """Return a class in a few words: its name, and those arguments that are not its defaults."""
    return f"{_class(class_path)}{_rest(class_path, init_args)}"


def _rest(class_path: str, init_args: Mapping[str, Any]) -> str:
    parameters = inspect.signature(_at(class_path)).parameters
    words = []
    for name, value in init_args.items():
        default = parameters[name].default if name in parameters else None
        default = list(default) if isinstance(default, tuple) else default
        if name not in _OF_THE_DATA and value != default:
            words.append(_word(name, value))
    return "".join(f" {word}" for word in words)


def _word(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return value if isinstance(value, str) else f"{name} {value:g}"


def _at(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _class(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _data(config: Mapping[str, Any]) -> str | dict[str, Any]:
    """Return the description of the test images, all of them, without the folder of the data."""
    path, args = config["data"]["class_path"], config["data"]["init_args"]
    kept = {name: value for name, value in args.items() if name not in _OF_A_TRAINING and value is not None}
    return {"class_path": path, "init_args": kept} if kept else str(path)


def _model(config: Mapping[str, Any]) -> dict[str, Any]:
    net = config["model"]["net"]
    module, _, name = net["class_path"].rpartition(".")
    args = {name: value for name, value in net["init_args"].items() if value is not None}
    return {"model": f"{module}:{name}", "init_args": args}


def _write_weights(folder: Path, key: str, label: str, config: Mapping[str, Any]) -> Path:
    """Write the weights that a training ended with as a state dict of the net alone."""
    described = _model(config)
    net = build(described["model"], described["init_args"]).module
    put_weights(net, read_weights(folder / FITS / key / "checkpoints" / "final.ckpt"))
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    path = folder / WEIGHTS / f"{re.sub(r'[^A-Za-z0-9.]+', '-', label)}.pt"
    path.parent.mkdir(exist_ok=True)
    return write_atomically(path, buffer.getvalue())


def _number(records: pd.DataFrame, key: str, column: str) -> float:
    return float(records[column].get(key, math.nan)) if column in records else math.nan
