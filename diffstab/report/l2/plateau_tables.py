"""Tables and sentences of plateaus: where they start, the optimisers side by side, every width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffstab.report.document import Table, TableCell, stacked
from diffstab.report.glossary import counted
from diffstab.report.l2.plateau_rows import case_starts
from diffstab.report.l2.plateau_runs import (
    Start,
    best_runs,
    earliest,
    fewest_neurons,
    floors,
    hidden_layers,
    optimisers,
    relative_heights,
    start_text,
)
from diffstab.report.listings import number_cell
from diffstab.report.names import value_text
from diffstab.report.numbers import number_text, percent
from diffstab.report.runs import Runs
from diffstab.report.tables import column


def starts(runs: Runs) -> Sequence[Table]:
    """Where the plateau of each optimiser starts, seed by seed, and how sharp that is."""
    listed = {str(title): _starts_table(case_starts(part)) for title, part in runs.frame.groupby("case")}
    return [stacked("Data", listed)] if any(table.rows for table in listed.values()) else []


def _starts_table(found: Sequence[Start]) -> Table:
    lines = [
        [
            _text(value_text("optimiser", start.optimiser)),
            TableCell(str(start.seed), start.seed),
            TableCell(start_text(start), start.found.width),
            TableCell(f"{start.found.tighter}, {start.found.looser}", start.found.tighter),
            TableCell(percent(start.excess) if np.isfinite(start.excess) else "–", start.excess),
            number_cell(start.found.floor),
            TableCell(f"{start.failed} of {start.tried}", start.failed),
            TableCell(percent(start.worst) if start.failed else "–", start.worst),
        ]
        for start in found
    ]
    headers = ["Optimiser", "Seed", "Start", "At half, twice the tolerance", "Next narrower net above"]
    headers += ["Smallest loss", "Failed restarts", "Worst of them above"]
    caption = (
        "Start of the plateau [95 % interval over restarts]; failed: restarts from the start on that end "
        "above the plateau; "
        "above: relative to the smallest loss of the optimiser"
    )
    return Table(caption, headers, lines, "starts")


def converged(part: pd.DataFrame) -> TableCell:
    """How many runs converged."""
    done = int(part["converged"].astype("bool").sum())
    return TableCell(f"{done} of {len(part)}", done)


def _best(part: pd.DataFrame) -> pd.Series:
    return part.sort_values("loss", kind="stable").iloc[0]


def best_width(part: pd.DataFrame) -> TableCell:
    """Width of the run of least loss."""
    return number_cell(_best(part)["width"])


def norm_of_best(part: pd.DataFrame) -> TableCell:
    """Squared norm of the run of least loss."""
    return number_cell(_best(part)["squared_norm"])


def error_of_best(part: pd.DataFrame) -> TableCell:
    """Test error of the run of least loss: a share, or a mean square."""
    row = _best(part)
    is_share = np.isfinite(row["test_error"])
    value = float(100 * row["test_error"] if is_share else row["mean_square_error"])
    return TableCell(number_text(value) + (" %" if is_share else ""), value)


def neurons_of_best(part: pd.DataFrame) -> TableCell:
    """Neurons left in each hidden layer of the run of least loss."""
    left = [column(part, f"pruned_widths_{layer}") for layer in range(1, hidden_layers(part) + 1)]
    at = part["loss"].sort_values(kind="stable").index[0]
    return _text(" · ".join(f"{one[at]:g}" for one in left if np.isfinite(one[at])) or "–")


def rank_of_best(part: pd.DataFrame) -> TableCell:
    """Bounds on the rank of each hidden layer of the run of least loss."""
    return _text(rank_text(_best(part)))


def rank_text(row: pd.Series) -> str:
    """The bounds on the rank of each hidden layer of a run; a dash where they are not recorded."""
    texts = []
    for layer in range(1, hidden_layers(row.to_frame().T) + 1):
        low, high = row[f"rank_lower_{layer}"], row[f"rank_upper_{layer}"]
        if not np.isfinite([low, high]).all():
            return "–"
        texts.append(f"{low:g}" if low == high else f"{low:g} to {high:g}")
    return " · ".join(texts) or "–"


def above_best(part: pd.DataFrame) -> TableCell:
    """How far the best run lies above the smallest loss."""
    height = float(part["excess"].min())
    return TableCell(percent(height if height > 1e-6 else 0.0), height)


def further(runs: Runs) -> list[str]:
    """Do optimisers agree, do fewer neurons suffice, how near is the bound, are pruned nets as good: case by case."""
    found = []
    for title, part in runs.frame.groupby("case", sort=True):
        texts = [_agreement(part), _fewest(part), _bound(part), _pruned(part)]
        found += [f"{title}: {text}" for text in texts if text]
    return found


def _agreement(part: pd.DataFrame) -> str:
    best = part.groupby(["optimiser", "seed"])["excess"].min()
    names = sorted(set(part["optimiser"]))
    if len(names) < 2:
        return ""
    worst = {name: float(best[name].max()) for name in names}
    texts = [
        f"{value_text('optimiser', name)} {percent(value if value > 1e-6 else 0)}"
        for name, value in worst.items()
    ]
    return f"the best run of each optimiser lies above the smallest loss by at most: {', '.join(texts)}."


def _fewest(part: pd.DataFrame) -> str:
    tolerance, smallest, texts = float(part["tolerance"].iloc[0]), floors(part), []
    for start in earliest(case_starts(part), tolerance=tolerance):
        found = fewest_neurons(part[part["seed"] == start.seed], smallest[start.seed], tolerance=tolerance)
        if found is not None and found.neurons < start.found.width:
            texts.append(
                f"{found.neurons} at seed {start.seed} ({percent(found.excess)} above the smallest loss)"
            )
    if not texts:
        return ""
    return (
        f"fewer neurons than at the start of the plateau suffice: {'; '.join(texts)}. These nets were left when dead "
        "neurons of wider ones were dropped and aligned ones merged; restarts of that width missed them, or "
        "were not tried."
    )


def is_proven(row: pd.Series) -> bool:
    """Whether a bound is one for every net: by duality, every generator tried."""
    return bool(row["gap_kind"] == "duality" and row["oracle"] == "exact")


def _bound(part: pd.DataFrame) -> str:
    known = part[part["bound"].notna()]
    if known.empty:
        return ""
    gaps = [
        float(part["loss"][part["seed"] == row["seed"]].min()) / row["bound"] - 1
        for _, row in known.iterrows()
    ]
    if not all(gap >= -1e-9 for gap in gaps):
        return "the lower bound on the loss is an estimate here, and lies above losses that were reached."
    proven = all(is_proven(row) for _, row in known.iterrows())
    what = (
        "a proven lower bound for nets of every width"
        if proven
        else "an estimate, not a proof, of the lower bound"
    )
    return (
        f"the smallest loss lies at most {percent(max(gaps))} above {what} ({counted(len(known), 'seed')})."
    )


def _pruned(part: pd.DataFrame) -> str:
    if "pruned_loss" not in part or not optimisers(part):
        return ""
    runs = best_runs(part[part["optimiser"] == optimisers(part)[0]])
    runs = runs[np.isfinite(runs["loss"]) & runs["pruned_loss"].notna()]
    if runs.empty:
        return ""
    widest = runs[runs["width"] == runs["width"].max()]
    left = [int(max(widths)) for widths in widest["pruned_widths"]]
    smallest = runs.groupby("seed")["loss"].min()
    heights = [
        float(relative_heights([row["pruned_loss"]], float(smallest[row["seed"]]))[0])
        for _, row in widest.iterrows()
    ]
    counts = f"{min(left)}" if min(left) == max(left) else f"{min(left)} to {max(left)}"
    return (
        f"of the {int(widest['width'].iloc[0])} neurons of the widest nets {counts} are left when dead ones "
        "are dropped and "
        f"aligned ones merged; their loss is then at most {percent(max(0.0, *heights))} above the smallest."
    )


def _text(value: str) -> TableCell:
    return TableCell(value, value)
