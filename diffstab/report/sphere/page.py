"""The page of a folder of learning curves on the sphere: one HTML page and its figures."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report import tables
from diffstab.report.document import Cell, Picture, Section, Table
from diffstab.report.numbers import number_text
from diffstab.report.provenance import cautions, provenance, subtitle
from diffstab.report.sphere import pictures
from diffstab.report.sphere.exponents import (
    ExponentRow,
    agreement_text,
    exponent_rows,
    exponent_table,
    measured_and_predicted,
)
from diffstab.report.swept import swept_options, told_apart
from diffstab.report.tables import column, is_recorded
from diffstab.report.verdicts import verdict
from diffstab.report.writing import read_config, refuse_others, write_page
from diffstab.results import read_records
from diffstab.results.schema import value_name

SEARCHED = ("heuristic", "multi-start")
"""Certificates that rest on a search; the second is what older records call the first."""

_RULE = (
    "An exponent β of test error ~ n^-β is fitted to log error, draw by draw, with weights from the scatter between "
    "draws; its interval is Student's. Range rule: from all sizes n, the smallest is dropped while a quadratic term "
    "in log n is significant at 5 % and more than four sizes are left; the predicted exponent plays no part in it. "
    "The mean of log error is fitted because the arithmetic mean of few draws is ruled by the worst of them; the "
    "exponent of the arithmetic means stands beside it."
)
_ROTATION = (
    "Mean square change of the predictor when test points rotate by a fixed angle towards a random direction, over "
    "its mean square change from one point to another."
)
_CHANGE = (
    "The same change as it stands, without the denominator: for a constant target both predictors tend to a constant, "
    "and the ratio compares only their errors."
)


def write_sphere_report(folder: str | Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.png|pdf`` of a folder of learning curves.

    The page needs no other file and no network. It takes the place of an old report when it is complete.

    Args:
        folder: Results folder as written by `diffstab sphere curve`.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder has no readable records or cannot be written to.
    """
    folder = Path(folder)
    records = read_records(folder)
    refuse_others(
        records, folder, command="sphere curve", columns=("dimension", "target", "predictor", "regime")
    )
    frame = tables.tidy_records(told_apart(records, folder))
    # Methods are compared draw by draw, so on the one realisation that both saw.
    frame["mean_square_error"] = column(frame, "drawn_error").fillna(column(frame, "test_error"))
    source, config = read_config(folder / "config.yaml")
    rows = exponent_rows(frame)
    parts = [findings(frame, rows), exponents(rows)]
    for _, part in frame.groupby("target", sort=True):
        parts += target_sections(part, rows)
    parts += [solver(frame), provenance(frame, config=source)]
    notes = cautions(frame, records=len(records), absent=0)
    swept = swept_options(records, folder)
    if not swept and (absent := grid_size(config) - len(frame)) > 0:
        notes.insert(0, f"Runs of the grid without a record: {absent}. The same command makes them.")
    notes += solver_cautions(frame)
    return write_page(folder, subtitle(frame), parts=parts, notes=notes)


def grid_size(config: Mapping[str, Any]) -> int:
    """Return how many runs a configuration asks for; 0 where it does not say."""
    sizes, methods = config.get("n_train"), config.get("methods")
    axes = [config.get(name) for name in ("dimensions", "targets", "seeds")]
    if not isinstance(sizes, list) or not isinstance(methods, Mapping):
        return 0
    if not all(isinstance(axis, list) for axis in axes):
        return 0
    bounds = [method.get("largest_n_train") for method in methods.values() if isinstance(method, Mapping)]
    fitted = sum(sum(bound is None or size <= bound for size in sizes) for bound in bounds)
    return fitted * math.prod(len(axis) for axis in axes if axis is not None)


def findings(frame: pd.DataFrame, rows: list[ExponentRow]) -> Section:
    """What the exponents and the paired differences say."""
    found = []
    for dataset in sorted({row.dataset for row in rows}):
        texts = [
            f"{value_name('method', row.method)}: {measured_and_predicted(row)} ({agreement_text(row)})."
            for row in rows
            if row.dataset == dataset and row.fit is not None
        ]
        found += [(f"Exponents, {dataset}", " ".join(texts))] if texts else []
    for name, part in frame.groupby("dataset", sort=True):
        for method, baseline in tables.method_pairs(part)[:1]:
            paired = tables.paired_rows(
                part, quantities=["mean_square_error"], method=method, baseline=baseline
            )
            found += [(f"Test error, {name}", verdict(paired))] if paired else []
    return Section("What the numbers say", verdicts=found)


def exponents(rows: list[ExponentRow]) -> Section:
    """The table of exponents with the rule behind it."""
    return Section("Exponents", [_RULE], tables=[exponent_table(rows)])


def target_sections(frame: pd.DataFrame, rows: list[ExponentRow]) -> list[Section]:
    """The figures of one target."""
    neurons = [pictures.neurons_picture(frame, dimension=dimension) for dimension in (2, 3)]
    further = [
        pictures.spectrum_picture(frame),
        pictures.circle_picture(frame),
        *neurons,
        pictures.atoms_picture(frame),
        pictures.quantity_picture(frame, "D_rotation", _ROTATION),
        pictures.quantity_picture(frame, "D_rotation_numerator", _CHANGE),
    ]
    drawn: list[Picture] = [
        pictures.learning_picture(frame, rows),
        *(one for one in further if one is not None),
    ]
    return [Section(f"Target: {frame['target'].iloc[0]}", pictures=drawn)]


def solver(frame: pd.DataFrame) -> Section:
    """Times, gaps and atoms of each method by dimension and size."""
    lines = []
    for keys, part in frame.groupby(["dataset", "method", "n_train"], sort=True):
        dataset, method, size = keys
        lines.append(
            [
                Cell(str(dataset), str(dataset)),
                Cell(value_name("method", str(method)), str(method)),
                Cell(str(size), float(str(size))),
                *(_number(float(value)) for value in _worst(part)),
                Cell(tables.counts_text(column(part, "certificate")) or "–", "certificate"),
            ]
        )
    headers = [
        "Target",
        "Method",
        "n",
        "Test error",
        "Seconds",
        "Atoms",
        "Gap",
        "Training error",
        "1/condition",
    ]
    caption = "Means over seeds; gap, training error and condition: the worst of them"
    return Section("How it was solved", tables=[Table(caption, [*headers, "Certificate"], lines)])


def _worst(part: pd.DataFrame) -> list[float]:
    means = [column(part, name).mean() for name in ("test_error", "train_seconds", "n_atoms")]
    return [
        *means,
        column(part, "gap").max(),
        column(part, "train_error").max(),
        column(part, "reciprocal_condition").min(),
    ]


def _number(value: float) -> Cell:
    return Cell(number_text(value), value)


def solver_cautions(frame: pd.DataFrame) -> list[str]:
    """What to know about the solvers: lost precision, gaps that were not closed, uncertified optima."""
    found = []
    singular = int((column(frame, "solver") == "eigh").sum())
    if singular:
        found.append(
            f"Kernel regressions on a kernel singular to rounding, by the pseudo-inverse: {singular}."
        )
    if is_recorded(frame, "gap") and is_recorded(frame, "tolerance"):
        wide = int((column(frame, "gap") > column(frame, "tolerance")).sum())
        if wide:
            found.append(f"Exact feature predictors that did not reach the asked gap: {wide}.")
    searched = int(column(frame, "certificate").isin(SEARCHED).sum())
    if searched:
        text = "Feature predictors whose gap rests on a search for the largest dual violation, not an enumeration"
        found.append(f"{text}: {searched}.")
    if not np.isfinite(column(frame, "test_error")).all():
        found.append("Some runs have no finite test error.")
    return found
