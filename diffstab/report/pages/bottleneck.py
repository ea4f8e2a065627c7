"""Bottleneck rank: what its page says of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffstab.report.runs import Runs, data_sets


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Of each function the net of least loss: the theory is about minima."""
    best = records.sort_values("loss").groupby(["dataset", "inner", "seed"], as_index=False).first()
    return best.sort_values(["inner", "seed"], ignore_index=True)


def title(runs: Runs) -> str:
    """On which functions."""
    return f"Bottleneck rank: {data_sets(runs.frame)}"


def answer(runs: Runs) -> str:
    """In how many functions the rank was found, and what was found elsewhere."""
    found = runs.frame["bottleneck_rank"] - runs.frame["inner"]
    shares = [
        f"{int((part == 0).sum())} of {len(part)} at k = {inner}"
        for inner, part in found.groupby(runs.frame["inner"])
    ]
    right = int((found == 0).sum())
    text = f"The least rank is that of the function in {right} of {len(found)} nets ({', '.join(shares)})"
    others = sorted({f"{int(one):+d}" for one in found[found != 0]})
    return f"{text}; the others differ by {', '.join(others)}." if others else f"{text}."
