"""Test error against R, D and G over nets that were trained for it: rows, fits and a figure, made in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from diffstab.experiments.measure import MeasureExperiment
from diffstab.measuring.data import open_data
from diffstab.measuring.images import ImageSet
from diffstab.measuring.one_call import finish, prepare, state_path
from diffstab.measuring.rows import OUTPUT
from diffstab.report.scatter.command import picture
from diffstab.report.scatter.drawing import Marks
from diffstab.report.scatter.laws import Fits, fitted, laws_frame, laws_text
from diffstab.report.scatter.points import read_points
from diffstab.results import canonical_json, provenance, write_atomically
from diffstab.zoo.rows import MEASURED, ORIGIN, without_places
from diffstab.zoo.training import TrainedNet

FITTED = Fits(by=("n_train",), within=("n_train", "architecture+training"), clusters="architecture")
"""Two directions: over architectures at one number of training images, and along that number for one architecture."""
MARKS = Marks("family", "training", ("architecture", "training"))
_BATCH = 50


def measured(
    nets: Sequence[TrainedNet], protocols: Sequence[str | int], folder: Path
) -> Iterator[dict[str, Any]]:
    """Measure nets under protocols, on one CPU; yield the row of each.

    Args:
        nets: From `train`.
        protocols: Names.
        folder: Where a measurement that is stopped goes on from.
    """
    opened: dict[str, ImageSet] = {}
    for net in nets:
        if (described := canonical_json(net.data)) not in opened:
            opened[described] = open_data(net.data)
        for name in protocols:
            yield _row(net, opened[described], name, folder)


def _row(net: TrainedNet, images: ImageSet, protocol: str | int, folder: Path) -> dict[str, Any]:
    experiment = MeasureExperiment(
        models={net.label: asdict(net.choice)},
        data=net.data,
        protocol=protocol,
        layers=[OUTPUT],
        accelerator="cpu",
        batch_size=_BATCH,
    )
    loaded = net.choice.load()
    ready = prepare(loaded, images, settings=experiment.pass_settings, protocol_name=protocol, name=net.label)
    found = finish(ready, devices=experiment.device_settings, path=state_path(folder, ready)).frame
    output = found[found["layer"] == OUTPUT].iloc[0]
    told = {"label": net.label, **asdict(net.choice), "weights_hash": loaded.weights_hash}
    config = without_places(canonical_json({**experiment.resolved(), "cell": {"model": told}}))
    origin = {name: value for name, value in provenance().items() if name in ORIGIN}
    return {
        "model": net.label,
        **{name: output[name] for name in MEASURED},
        **origin,
        "config": config,
        **net.columns,
    }


def write_law(table: Path, *, protocol: str) -> tuple[str, list[Path]]:
    """Fit and draw test error against R, D and G over the nets of a table.

    Nets that were trained on adversarial images are drawn, and not fitted.

    Args:
        table: Of rows of `measured`.
        protocol: Name of that whose rows are taken.

    Returns:
        The fits as a text, and the files beside the table: its name with `_fits.csv` and with `.png`.
    """
    drawn, laws, texts = {}, {}, []
    for against in ("R", "D", "G"):
        of_protocol = f"protocol == '{protocol}'"
        drawn[against] = read_points([table], against=against, where=of_protocol)
        plain = read_points(
            [table], against=against, where=f"{of_protocol} and not training.str.contains('adversarial')"
        )
        laws[against] = fitted(plain, against=against, fits=FITTED)
        texts.append(laws_text(laws[against], plain, against=against))
    frame: pd.DataFrame = laws_frame(laws)
    files = {
        table.with_name(f"{table.stem}_fits.csv"): frame.to_csv(index=False).encode(),
        table.with_suffix(".png"): picture(drawn, laws, marks=MARKS).png,
    }
    return "\n\n".join(texts), [write_atomically(path, content) for path, content in files.items()]
