"""Figures of L2-regularised nets: forces during training, and the least loss against the width."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.document import Picture, Table, stacked
from diffstab.report.l2.forces import course, layers_section, numbers
from diffstab.report.l2.plateau_pictures import KINDS, case_pictures
from diffstab.report.l2.plateau_runs import cases, hidden_layers, plateau_frame, run_settings, starts
from diffstab.report.l2.plateau_tables import optimisers_table, starts_table
from diffstab.report.paper.drawn import Drawn, Folders, renamed_picture
from diffstab.report.pictures import file_stem
from diffstab.report.writing import read_config
from diffstab.results import read_records
from diffstab.results.schema import value_name

_DEPTHS = {1: "one hidden layer", 2: "two hidden layers"}


def draw_forces(folders: Folders) -> Drawn:
    """Data points and neurons of each layer with the forces on them, and the forces during training."""
    pictures, listed = [], {}
    for stage, folder in folders.items():
        frame = read_records(folder).sort_values("seed", ignore_index=True)
        shown = [*layers_section(folder, frame).pictures, *course(frame).pictures]
        pictures += [renamed_picture(one, _prefix(stage, folders) + one.stem) for one in shown]
        dataset = str(frame["dataset"].iloc[0])
        listed[value_name("dataset", dataset)] = numbers(frame).tables[0]
    return Drawn(pictures, [stacked("Data set", listed)])


def draw_plateau(folders: Folders) -> Drawn:
    """Loss, norm, errors and neurons left against the width, and where the plateau starts."""
    return _plateaus(folders, kinds=KINDS)


def draw_exact_plateau(folders: Folders) -> Drawn:
    """Loss and norm against the width where theory gives the start of the plateau."""
    return _plateaus(folders, kinds=("loss", "norm"))


def draw_optimisers(folders: Folders) -> Drawn:
    """The minima over weights, representations and covariances side by side."""
    drawn = _plateaus(folders, kinds=("loss",))
    listed = {title: optimisers_table(part) for _, title, part, _ in _cases(folders)}
    return Drawn(drawn.pictures, [stacked("Data", listed)])


def _plateaus(folders: Folders, *, kinds: Sequence[str]) -> Drawn:
    pictures: list[Picture] = []
    listed: dict[str, Table] = {}
    for stage, title, part, settings in _cases(folders):
        found = starts(part, tolerance=float(settings["plateau_tolerance"]))
        if not found:
            continue
        shown = case_pictures(part, found, settings, kinds=kinds)
        pictures += [_titled(one, title, stem=_prefix(stage, folders) + one.stem) for one in shown]
        listed[title] = starts_table(found)
    if not pictures:
        raise ResultsError("No net of a given width found a minimum. Run `diffstab plateau` with wider nets.")
    return Drawn(pictures, [stacked("Data", listed)])


def _cases(folders: Folders) -> list[tuple[str, str, pd.DataFrame, dict[str, Any]]]:
    """Return (stage, title, records, settings) of each data set, size and depth."""
    found = []
    for stage, folder in folders.items():
        frame = plateau_frame(read_records(folder))
        settings = run_settings(frame, read_config(folder / "config.yaml")[1])
        for title, part in cases(frame):
            layers = hidden_layers(part)
            depth = _DEPTHS.get(layers, f"{layers} hidden layers")
            found.append((stage, f"{title}, {depth}", part, settings))
    return found


def _prefix(stage: str, folders: Folders) -> str:
    """What tells the files of one stage from those of another."""
    return f"{file_stem(stage)}-" if len(folders) > 1 else ""


def _titled(picture: Picture, title: str, *, stem: str) -> Picture:
    return renamed_picture(picture, stem)._replace(
        caption=f"{title}. {picture.caption}", alt=f"{title}. {picture.alt}"
    )
