"""What was varied in an experiment, in a sentence."""

from __future__ import annotations

import pandas as pd

from diffstab.report.glossary import counted, listed, span
from diffstab.report.names import ordered, value_text
from diffstab.report.runs import Runs
from diffstab.results.schema import describe, is_axis

_COUNTED = {"seed": "draw", "restart": "restart"}
"""Axes of which the values mean nothing: how many there are of each is what counts."""
_SYMBOLS = {"n_train": "number of training points n", "dimension": "dimension d"}
_LONGEST = 8


def varied(runs: Runs) -> str:
    """Name each axis with more than one value, its values, and the number of draws."""
    # A case says again what its data set, size and depth are.
    repeats = {"target": "dataset", "optimiser": "method"}
    frame = runs.frame.drop(
        columns=["case", *(two for one, two in repeats.items() if one in runs.frame)], errors="ignore"
    )
    axes = [
        name
        for name in map(str, frame)
        if is_axis(name) and name not in _COUNTED and frame[name].nunique() > 1
    ]
    texts = [f"{_SYMBOLS.get(name, describe(name).noun)} ({_values(frame, name)})" for name in axes]
    for name, noun in _COUNTED.items():
        if name in frame and frame[name].nunique() > 1:
            cells = [axis for axis in axes if axis not in ("width", "optimiser")]
            counts = frame.groupby(cells)[name].nunique() if cells else pd.Series([frame[name].nunique()])
            texts.append(f"the {noun} ({span(list(counts), noun)})")
    return f"{_capital(listed(texts)) if texts else 'Nothing'}; {counted(runs.recorded or len(frame), 'run')} in all."


def _values(frame: pd.DataFrame, name: str) -> str:
    values = ordered(name, frame[name].dropna())
    if len(values) > _LONGEST and not isinstance(values[0], str):
        return f"{len(values)} values from {values[0]} to {values[-1]}"
    return listed([value_text(name, value) for value in values])


def data_sets(frame: pd.DataFrame) -> str:
    """The data sets of the records in words."""
    return listed([value_text("dataset", name) for name in ordered("dataset", frame["dataset"])])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
