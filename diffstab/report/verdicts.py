"""Sentences about the numbers of a report, worked out from them and never assumed."""

from collections.abc import Sequence

import numpy as np

from diffstab.errors import ArgumentError
from diffstab.report.numbers import interval_text
from diffstab.report.tables import PairedRow, SummaryRow
from diffstab.results.schema import describe, value_name


def verdict(rows: Sequence[PairedRow]) -> str:
    """Which of two methods is lower in one quantity, on how many draws, and how sure the mean difference is.

    Args:
        rows: Paired rows of one data set, quantity and pair of methods, one per n_train.

    Returns:
        One to three sentences.

    Raises:
        ArgumentError: There are no rows.
    """
    if not rows:
        raise ArgumentError("rows", "have at least one paired row", 0)
    sides = value_name("method", rows[0].method), value_name("method", rows[0].baseline)
    return " ".join([_winner(rows, *sides), *_certainty(rows), _largest(rows[-1], *sides)])


def change_from_initial(after: Sequence[SummaryRow], before: Sequence[SummaryRow]) -> str:
    """A quantity of one method before and after training at the largest n_train that has both.

    Args:
        after: Rows of the trained predictor, one per n_train.
        before: Rows of the same quantity at initialisation.

    Returns:
        A sentence, or "" where no n_train has both.
    """
    initial = {row.n_train: row for row in before}
    both = [row for row in after if row.n_train in initial]
    if not both:
        return ""
    last = max(both, key=lambda row: row.n_train)
    start = initial[last.n_train]
    texts = [interval_text(last.quantity, row.mean, row.low, row.high) for row in (start, last)]
    name = f"{describe(last.quantity).noun} of {value_name('method', last.method)}"
    return f"{name} at n = {last.n_train}: {texts[0]} at initialisation, {texts[1]} after training."


def course(rows: Sequence[SummaryRow]) -> str:
    """How the mean of one method goes from the smallest to the largest n_train.

    Args:
        rows: Rows of one method and quantity, one per n_train.

    Returns:
        "feature: 40 % at n = 32, 12 % at n = 1024", or "" for no rows.
    """
    if not rows:
        return ""
    ordered = sorted(rows, key=lambda row: row.n_train)
    ends = [ordered[0], ordered[-1]][: len(ordered)]
    texts = [
        f"{interval_text(row.quantity, row.mean, row.low, row.high)} at n = {row.n_train}" for row in ends
    ]
    return f"{value_name('method', ordered[0].method)}: {', '.join(texts)}"


def _winner(rows: Sequence[PairedRow], method: str, baseline: str) -> str:
    noun = describe(rows[0].quantity).noun
    draws, ties = sum(row.draws for row in rows), sum(row.ties for row in rows)
    wins = {method: sum(row.method_lower for row in rows), baseline: sum(row.baseline_lower for row in rows)}
    tied = f", {ties} {'tie' if ties == 1 else 'ties'}" if ties else ""
    where = f" at n = {rows[0].n_train}" if len(rows) == 1 else f" over {len(rows)} sizes n"
    if wins[method] == wins[baseline]:
        return f"{method} and {baseline} have the lower {noun} equally often ({draws} draws{where}{tied})."
    first, second = sorted(wins, key=lambda side: -wins[side])
    return (
        f"{first} has the lower {noun} on {wins[first]} of {draws} draws{where} "
        f"({second} on {wins[second]}{tied})."
    )


def _certainty(rows: Sequence[PairedRow]) -> list[str]:
    sure = [row for row in rows if np.isfinite(row.low)]
    if len(rows) == 1:
        return []
    if not sure:
        return ["One draw per size gives no interval over draws."]
    above, below = sum(row.low > 0 for row in sure), sum(row.high < 0 for row in sure)
    sides = value_name("method", rows[0].baseline), value_name("method", rows[0].method)
    found = [f"{side} lower at {count}" for side, count in zip(sides, (above, below)) if count]
    found += [f"undecided at {len(sure) - above - below}"] if len(sure) > above + below else []
    return [f"By the 95 % interval of the mean difference: {', '.join(found)} of {len(sure)} sizes."]


def _largest(row: PairedRow, method: str, baseline: str) -> str:
    text = interval_text(row.quantity, row.mean, row.low, row.high, difference=True)
    single = "" if np.isfinite(row.low) else " (one draw, no interval)"
    return f"Mean difference {method} − {baseline} at n = {row.n_train}: {text}{single}."
