"""What the source says about plateaus beside what was measured.

Source: Jacot et al. 2022 (arXiv 2205.15809), Propositions 6, 7, 13, 14 and 15, Lemma 10 and Figure 2.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from diffstab.report.document import Cell, Section, Table
from diffstab.report.l2.plateau_runs import Start, best_runs, earliest, hidden_layers
from diffstab.report.l2.plateau_verdicts import percent, start_text
from diffstab.report.numbers import number_text
from diffstab.report.tables import is_recorded

AS_SAID, NOT_AS_SAID, UNDECIDED = "as said", "not as said", "undecided"
GENERAL_CLAIMS = 2
"""So many claims, the first ones, hold for all data."""
NEAR_NEURONS = 2
"""Neurons by which a start may differ from "roughly" 10."""
MNIST_START = 10
"""Start of the plateau on MNIST as read off the source's Figure 2."""
NORM_TOLERANCE = 1e-3
"""Relative difference up to which a norm is that of theory."""


class Claim(NamedTuple):
    """A statement of the source: where it stands, what it says, what was measured, and whether they agree."""

    place: str
    said: str
    measured: str
    verdict: str


def claims(part: pd.DataFrame, starts: Sequence[Start], settings: Mapping[str, Any]) -> list[Claim]:
    """Return the statements of the source that these data can be held against.

    Args:
        part: Records of one data set and size as returned by `plateau_frame`.
        starts: Its plateaus: the earliest of each seed counts, and for losses and failed trials the first optimiser.
        settings: As returned by `run_settings`.
    """
    tolerance = float(settings["plateau_tolerance"])
    first = earliest(starts, tolerance=tolerance)
    starts = [start for start in starts if start.optimiser == starts[0].optimiser]
    if not starts:
        return []
    found = [_falling(part, starts, tolerance), _latest_start(part, first)]
    if is_recorded(part, "known_width"):
        found.append(_known_width(part, first))
    if is_recorded(part, "known_cost"):
        found.append(_known_cost(part, starts, interpolation=bool(settings.get("interpolation"))))
    dataset, shallow = str(part["dataset"].iloc[0]), hidden_layers(part) == 1
    if dataset == "scalar" and shallow and settings.get("activation") == "relu":
        found.append(_scalar(part, first))
    elif dataset == "mnist" and settings.get("cost") == "cross_entropy":
        found.append(_mnist(first))
    elif dataset == "teacher":
        found.append(_failed_trials(starts))
    return found


def claims_section(rows: Sequence[Claim]) -> Section:
    """The statements as a list."""
    listed = [
        (row.place, f"{row.said} Measured: {row.measured}. {row.verdict.capitalize()}.") for row in rows
    ]
    return Section("The source beside what was measured", verdicts=listed, level=3)


def claims_table(rows: Sequence[Claim]) -> Table:
    """The statements as a table."""
    badges = {AS_SAID: "holds", NOT_AS_SAID: "does not", UNDECIDED: "undecided"}
    lines = [
        [
            Cell(row.verdict, row.verdict, badge=badges[row.verdict]),
            *(Cell(text, text) for text in (row.place, row.said, row.measured)),
        ]
        for row in rows
    ]
    return Table("The source beside what was measured", ["Verdict", "Source", "Said", "Measured"], lines)


def _falling(part: pd.DataFrame, starts: Sequence[Start], tolerance: float) -> Claim:
    best = best_runs(part[part["optimiser"] == starts[0].optimiser])
    rises = []
    for _, group in best[np.isfinite(best["loss"])].groupby("seed"):
        rises.append(float((group["loss"] / group["loss"].cummin() - 1).max()))
    measured = (
        f"the best loss of a width lies at most {percent(max(rises))} above that of a narrower net; "
        "more than nothing is a minimum that the restarts missed"
    )
    verdict = AS_SAID if max(rises) <= tolerance else NOT_AS_SAID
    return Claim("Proposition 6", "The smallest loss does not rise with the width.", measured, verdict)


def _latest_start(part: pd.DataFrame, starts: Sequence[Start]) -> Claim:
    n = int(part["n_train"].iloc[0])
    most = n * (n + 1)
    said = f"From N (N + 1) = {number_text(most, decimals=0)} neurons on at the latest the smallest loss is constant."
    return Claim("Proposition 7, Lemma 10", said, _measured(starts), _verdict(starts, lambda w: w <= most))


def _known_width(part: pd.DataFrame, starts: Sequence[Start]) -> Claim:
    width = int(part["known_width"].dropna().iloc[0])
    said = f"Every minimum needs {width} neurons, the CP-rank of the root of the targets' Gram matrix."
    return Claim(
        "Propositions 13 and 14", said, _measured(starts), _verdict(starts, lambda found: found == width)
    )


def _known_cost(part: pd.DataFrame, starts: Sequence[Start], *, interpolation: bool) -> Claim:
    known = float(part["known_cost"].dropna().iloc[0])
    said = f"R(X, Y) = 2 Tr (Y^T Y)^(1/2) = {number_text(known)}."
    if not interpolation:
        measured = "not measured: the penalised loss was minimised"
        return Claim("Proposition 14", said, measured, UNDECIDED)
    norms = [start.found.floor for start in starts]
    worst = max(abs(norm / known - 1) for norm in norms)
    measured = (
        f"R = {number_text(float(np.mean(norms)), decimals=4)}, relative difference {worst:.1e}".replace(
            "-", "−"
        )
    )
    return Claim("Proposition 14", said, measured, AS_SAID if worst <= NORM_TOLERANCE else NOT_AS_SAID)


def _scalar(part: pd.DataFrame, starts: Sequence[Start]) -> Claim:
    most = 4 * int(part["n_train"].iloc[0])
    said = f"For scalar inputs and outputs the plateau starts at 4 N = {most} neurons at the latest."
    return Claim("Proposition 15", said, _measured(starts), _verdict(starts, lambda width: width <= most))


def _mnist(starts: Sequence[Start]) -> Claim:
    said = f"On MNIST the plateau starts roughly at width {MNIST_START}, the number of classes."
    verdict = _verdict(starts, lambda width: abs(width - MNIST_START) <= NEAR_NEURONS)
    return Claim("Figure 2", said, f"{_measured(starts)} (near: within {NEAR_NEURONS} neurons)", verdict)


def _failed_trials(starts: Sequence[Start]) -> Claim:
    failed, tried = sum(start.failed for start in starts), sum(start.tried for start in starts)
    said = "With a teacher some trials end above the plateau even at large widths."
    measured = f"{failed} of {tried} restarts from the start on ended above the plateau"
    return Claim("Figure 2, appendix", said, measured, AS_SAID if failed else NOT_AS_SAID)


def _measured(starts: Sequence[Start]) -> str:
    texts = []
    for start in starts:
        seed = f"seed {start.seed}: " if len(starts) > 1 else ""
        by = f" by {start.optimiser}" if start.optimiser != "weights" else ""
        texts.append(f"{seed}{start_text(start)}{by}")
    return f"start at {'; '.join(texts)}"


def _verdict(starts: Sequence[Start], holds: Any) -> str:
    """Whether a condition on the start holds for every seed; undecided where no plateau was seen."""
    if not all(start.found.reached for start in starts):
        return UNDECIDED
    return AS_SAID if all(holds(start.found.width) for start in starts) else NOT_AS_SAID
