"""Checkpoints are looked at before anything runs: a wrong one is told in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from diffstab.errors import ArgumentError, DataError

_KEYWORDS = ("best", "last")
"""Names of checkpoints of the same Trainer; a new one has none."""

_ELSEWHERE = ("hpc", "registry")
"""What Lightning looks for itself."""

_WAY_OUT = "Give a .ckpt file that `diffstab fit` wrote, as checkpoints/final.ckpt in the folder of a run."
_SAME_MODEL = "Use the config.yaml that lies in the folder of its run."


def check_checkpoint(
    path: str | Path | None, model: LightningModule, *, resume: bool, weights_only: bool = True
) -> None:
    """Raise unless a checkpoint can be read, and is one of the model.

    Args:
        path: File; None, "hpc", "registry" and addresses with "://" are left to Lightning.
        model: What it is loaded into; stays as it is.
        resume: Whether training goes on from it, which takes the state of the optimiser.
        weights_only: Whether only plain tensors and numbers are read; other content can run any code.

    Raises:
        DataError: If it is missing, damaged or no checkpoint of Lightning.
        ArgumentError: If it is of another model or optimiser, or has no state to go on from.
    """
    name = "" if path is None else str(path)
    if not name or "://" in name or (name.startswith(_ELSEWHERE) and not Path(name).exists()):
        return
    if name in _KEYWORDS and not Path(name).exists():
        raise ArgumentError("ckpt_path", "name a file", repr(name), _WAY_OUT)
    content = read_checkpoint(Path(name), weights_only=weights_only)
    _check_weights(content["state_dict"], model.state_dict())
    given, made = content.get("hyper_parameters", {}), model.hparams
    for name in ("alpha", "xi"):
        if name in given and name in made and given[name] != made[name]:
            received = f"{name} = {given[name]:g} there and {made[name]:g} in the configuration"
            raise ArgumentError("ckpt_path", "be of the configured model", received, _SAME_MODEL)
    if resume:
        _check_optimiser(content, model)


def read_checkpoint(path: Path, *, weights_only: bool = True) -> dict[str, Any]:
    """Return the content of a checkpoint of Lightning, on the CPU.

    Raises:
        DataError: If it is missing, damaged or no checkpoint of Lightning.
    """
    if not path.is_file():
        raise DataError("There is no such checkpoint", path, _WAY_OUT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=weights_only)
    # What torch raises for a file that is none depends on its first bytes.
    except Exception as error:
        raise DataError(
            "The checkpoint is damaged, or holds more than plain tensors", path, _WAY_OUT
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        raise DataError("The file is no checkpoint of Lightning", path, _WAY_OUT)
    return content


def _check_weights(given: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in (given, made)]
    for name in sorted(given.keys() | made.keys()):
        there, here = (state.get(name) for state in shapes)
        if there != here:
            received = (
                f"{name!r}: {there or 'nothing'} in the checkpoint and {here or 'nothing'} in the model"
            )
            raise ArgumentError("ckpt_path", "be of the configured model", received, _SAME_MODEL)


def _check_optimiser(content: Mapping[str, Any], model: LightningModule) -> None:
    states = content.get("optimizer_states")
    if states is None or "loops" not in content:
        received = "a checkpoint of the weights alone"
        raise ArgumentError("ckpt_path", "hold the state of the training to go on from", received, _WAY_OUT)
    made = [one.state_dict() for one in _optimisers(model.configure_optimizers())]
    names = [
        [set(group) - {"params"} for state in every for group in state["param_groups"]]
        for every in (states, made)
    ]
    if names[0] != names[1]:
        received = "the state of another one"
        raise ArgumentError("ckpt_path", "be of the configured optimiser", received, _SAME_MODEL)


def _optimisers(made: Any) -> list[torch.optim.Optimizer]:
    """Return the optimisers in what `configure_optimizers` returned, whatever its form."""
    if isinstance(made, torch.optim.Optimizer):
        return [made]
    parts = made.values() if isinstance(made, Mapping) else made if isinstance(made, list | tuple) else []
    return [found for part in parts for found in _optimisers(part)]
