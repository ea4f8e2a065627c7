"""Learning curves of random hierarchies: rows that the figures and tables of their page read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffstab.report.claims.statistics.thresholds import crossings
from diffstab.report.runs import Runs, data_sets

_SIZES = {"n_error": "test_error", "n_synonyms": "D_synonyms", "n_moves": "D_moves"}


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The records in the order of tasks and sizes."""
    return records.sort_values(["empty", "levels", "synonyms", "n_train", "seed"], ignore_index=True)


def title(runs: Runs) -> str:
    """Which tasks."""
    return f"Random hierarchies: {data_sets(runs.frame)}"


def size_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The sizes at which numbers have fallen, a row per task and seed."""
    known = frame.groupby(["dataset", "seed"], sort=False)["known_size"].first()
    found = {name: crossings(frame, value) for name, value in _SIZES.items() if value in frame}
    found["n_tenth"] = crossings(frame, "test_error / chance", at=0.1)
    return pd.DataFrame({"known_size": known, **found}).reindex(known.index).reset_index()
