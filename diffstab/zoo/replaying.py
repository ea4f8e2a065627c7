"""A row of a table of models, measured again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from diffstab.errors import ArgumentError
from diffstab.experiments.measure import MeasureExperiment
from diffstab.measuring.measurement import Measurement
from diffstab.measuring.one_call import finish, state_path
from diffstab.measuring.rows import OUTPUT
from diffstab.zoo.rows import NUMBERS

TOLERANCE = 1e-5
"""Relative difference of numbers that are made again elsewhere."""


class Replay(NamedTuple):
    """A row of a table that was made again.

    Attributes:
        model: Its label.
        is_same_machine: Whether versions, machine and size of batches are those of the row, so that bits must agree.
        differences: Relative difference of each number, those that agree to the bit at 0.
    """

    model: str
    is_same_machine: bool
    differences: dict[str, float]

    @property
    def agrees(self) -> bool:
        """Whether all numbers are those of the row: to the bit on the same machine, else within the tolerance."""
        return max(self.differences.values()) <= (0 if self.is_same_machine else TOLERANCE)


def replay(row: Mapping[str, Any], *, data: str = "", weights: Path | None = None) -> Replay:
    """Measure the model of a row again.

    Args:
        row: Of a table.
        data: Images, where the row names a folder.
        weights: Folder of the files of weights that rows name.

    Returns:
        How far the numbers are from those of the row.

    Raises:
        ArgumentError: Images or weights are missing, or the weights are others.
    """
    experiment, label = _experiment(row, data=data, weights=weights)
    ready = experiment.ready(label)
    if ready.subject.weights_hash != row["weights_hash"]:
        received = f"weights of hash {ready.subject.weights_hash}"
        raise ArgumentError("weights", f"be those of the row, of hash {row['weights_hash']}", received)
    path = state_path(Path("results") / "replay", ready)
    found = finish(ready, devices=experiment.device_settings, path=path)
    return _compared(row, found, is_fixed=experiment.batch_size is not None)


def _compared(row: Mapping[str, Any], found: Measurement, *, is_fixed: bool) -> Replay:
    from diffstab.results.provenance import provenance

    output = found.frame[found.frame["layer"] == OUTPUT].iloc[0]
    here = provenance()
    same = is_fixed and all(str(here[name]) == str(row[name]) for name in ("versions", "hardware"))
    differences = {name: _difference(float(row[name]), float(output[name])) for name in NUMBERS}
    return Replay(str(row["model"]), same, differences)


def _difference(before: float, after: float) -> float:
    if before == after or (math.isnan(before) and math.isnan(after)):
        return 0.0
    return abs(after - before) / max(abs(before), abs(after))


def _experiment(row: Mapping[str, Any], *, data: str, weights: Path | None) -> tuple[MeasureExperiment, str]:
    config = json.loads(row["config"])
    choice, label = config.pop("model"), str(row["model"])
    if isinstance(config["data"], str) and config["data"].startswith("folder "):
        if not data:
            raise ArgumentError(
                "data", f"name the images of the row ({row['dataset']})", "nothing", "--data FOLDER"
            )
        config["data"] = data
    for name in ("model", "weights"):
        if isinstance(file := choice[name], str) and file.startswith("file "):
            if weights is None:
                raise ArgumentError(
                    "weights", f"name the folder of {file[5:]}", "nothing", "--weights FOLDER"
                )
            choice[name] = str(weights / file[5:])
    return replace(MeasureExperiment(**{**config, "models": {label: choice}}), layers=["output"]), label
