"""Comparisons of methods on images: what their page says of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diffstab.report.runs import Runs, data_sets
from diffstab.report.summaries import mean_text
from diffstab.report.tables import column, comparison_text, is_recorded, pairs, tidy_records
from diffstab.report.words import column_of, counted, listed, value_text


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """One row per cell, numbers as numbers."""
    return tidy_records(records)


def title(runs: Runs) -> str:
    """Who is compared on what."""
    names = [value_text("method", name) for name in sorted(set(runs.frame["method"]))]
    who = "Feature and lazy training" if _has_regimes(runs) else listed(names)
    return f"{who} on {data_sets(runs.frame)}"


def question(runs: Runs) -> str:
    """What is asked of feature and lazy training; "" for other methods."""
    says = (
        "Does a net that learns features generalise better than one that does not, and is it more stable when images "
        "are deformed a little?"
    )
    return says if _has_regimes(runs) else ""


def _has_regimes(runs: Runs) -> bool:
    return {str(name).split("_")[0] for name in runs.frame["method"]} >= {"feature", "lazy"}


def answer(runs: Runs) -> str:
    """Which method has the lower test error and R at the largest n."""
    texts = []
    for name, part in runs.frame.groupby("dataset", sort=True):
        methods = pairs(part)[:1] if _has_regimes(runs) else [tuple(sorted(set(part["method"])))]
        text = "".join(comparison_text(part, ("test_error", "R"), one) for one in methods) or _alone(part)
        texts += [f"On {value_text('dataset', name)} {text}."] if text else []
    return " ".join(texts) or "No run has a test error yet."


def _alone(part: pd.DataFrame) -> str:
    """The numbers of one method, at the largest n."""
    last = part[part["n_train"] == part["n_train"].max()]
    method, size = value_text("method", last["method"].iloc[0]), last["n_train"].iloc[0]
    names = [name for name in ("test_error", "R") if is_recorded(last, name)]
    texts = [
        f"the {column_of(name).noun} of {method} is {mean_text(last, name)} at n = {size}" for name in names
    ]
    return " and ".join(texts)


def changes(runs: Runs) -> Sequence[str]:
    """R before and after training of each method at the largest n."""
    last, found = runs.frame[runs.frame["n_train"] == runs.frame["n_train"].max()], []
    for (name, method), part in last.groupby(["dataset", "method"], sort=True):
        if is_recorded(part, "R") and is_recorded(part, "init_R"):
            who = f"{value_text('dataset', name)}, {value_text('method', method)}, n = {part['n_train'].iloc[0]}"
            before, after = (mean_text(part, one) for one in ("init_R", "R"))
            found.append(f"{who}: R is {before} before training and {after} after it.")
    return found


def cautions(runs: Runs) -> Sequence[str]:
    """Few images that carry D or G."""
    shares = [column(runs.frame, f"{name}_top_share") > 0.5 for name in ("deformation", "noise")]
    heavy = int((shares[0] | shares[1]).sum())
    says = "a twentieth of the images carries more than half of D or G, so that intervals over images may be too short"
    return [f"In {counted(heavy, 'run')} {says}. Measure more images."] if heavy else []
