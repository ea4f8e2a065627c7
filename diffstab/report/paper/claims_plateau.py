"""Claims about the plateau of the smallest loss of L2-regularised nets: where it starts, how low it is, its rank."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.report.l2.plateau_claims import MNIST_START, NEAR_NEURONS, NORM_TOLERANCE
from diffstab.report.l2.plateau_runs import (
    Start,
    best_runs,
    cases,
    earliest,
    floors,
    plateau_frame,
    relative_heights,
    run_settings,
    starts,
)
from diffstab.report.l2.plateau_verdicts import percent, start_text
from diffstab.report.numbers import number_text
from diffstab.report.paper.claims_evidence import (
    DOES_NOT,
    HOLDS,
    JACOT,
    NOT_TESTED,
    UNDECIDED,
    Claim,
    Evidence,
    Finding,
)
from diffstab.report.paper.claims_rules import always, draws_text, inside, together

MNIST, SHALLOW, TEACHER = "plateau_mnist", "plateau_mnist_shallow", "plateau_teacher"
BIPARTITE, ONEHOT, SCALAR, FORMS = (
    "plateau_bipartite",
    "plateau_onehot",
    "plateau_scalar",
    "plateau_optimisers",
)
ALL = (MNIST, SHALLOW, TEACHER, BIPARTITE, ONEHOT, SCALAR, FORMS)
SIGNIFICANT = 0.025
_START = (
    "Start of the plateau: the least width whose best loss over restarts, or that of a narrower net, lies within a "
    "tolerance of the smallest of all widths (1 %; 0.1 % where targets are met exactly), with the optimiser that "
    "starts earliest among those that come that near to the smallest loss of all. "
)


class Plateau(NamedTuple):
    """The plateaus of one data set and size.

    Attributes:
        title: Data set and size.
        part: Records.
        starts: One for each draw and optimiser.
        tolerance: Of the rule of the start.
    """

    title: str
    part: pd.DataFrame
    starts: list[Start]
    tolerance: float

    @property
    def points(self) -> int:
        """N."""
        return int(self.part["n_train"].iloc[0])

    def known(self, name: str) -> float | None:
        """Return what theory says for these points; None where it says nothing."""
        values = self.part[name].dropna()
        return float(values.iloc[0]) if len(values) else None


def plateaus(stage: str, evidence: Evidence) -> list[Plateau]:
    """Return the plateaus of each data set and size of a stage."""
    frame = plateau_frame(evidence.records(stage))
    tolerance = float(run_settings(frame, {})["plateau_tolerance"])
    return [
        Plateau(title, part, starts(part, tolerance=tolerance), tolerance) for title, part in cases(frame)
    ]


class Expected(NamedTuple):
    """What is said of the start of a plateau: a text, and whether a width fits it."""

    text: str
    fits: Callable[[int], bool]


def at_most(bound: int, text: str) -> Expected:
    """A start at a width or before, which a text names."""
    return Expected(text, lambda width: width <= bound)


def exactly(wanted: float | None) -> Expected:
    """A start at one width."""
    return Expected(f"{wanted:g}" if wanted is not None else "–", lambda width: width == wanted)


def start_within(
    stages: tuple[str, ...], expected: Callable[[Plateau], Expected], evidence: Evidence
) -> Finding:
    """Whether the earliest start of the plateau of every draw fits what is said of it.

    Args:
        stages: Where the plateaus are; those that were not run are left out of several.
        expected: What is said for the points of a plateau.
        evidence: The records.
    """
    found = [one for stage in stages if stage in evidence.folders for one in plateaus(stage, evidence)]
    found = [one for one in found if one.starts]
    if not found:
        return Finding(NOT_TESTED, detail="No net of a given width found a minimum.")
    verdicts, widths, texts = [], [], []
    for one in found:
        first = earliest(one.starts, tolerance=one.tolerance)
        verdicts.append(_fit(first, expected(one)))
        widths += [start.found.width for start in first]
        texts.append(f"{one.title}: {', '.join(start_text(start) for start in first)}")
    return Finding(
        together(verdicts),
        f"{_widths_text(widths)} neurons",
        float(np.mean(widths)),
        ", ".join(dict.fromkeys(expected(one).text for one in found)),
        draws_text([len(widths)]),
        f"start [95 % interval over restarts]; {'; '.join(texts)}",
    )


def _fit(first: list[Start], expected: Expected) -> str:
    """A start that was seen counts for or against; one that was not seen leaves open what no other refutes."""
    verdict = always([expected.fits(start.found.width) for start in first if start.found.reached])
    unseen = any(not start.found.reached for start in first)
    return UNDECIDED if unseen and verdict != DOES_NOT else verdict


def _widths_text(widths: list[int]) -> str:
    """The widths, or their range where they are many."""
    return ", ".join(map(str, widths)) if len(widths) <= 5 else f"{min(widths)} to {max(widths)}"


def falling(evidence: Evidence) -> Finding:
    """Whether the best loss of a width is never above that of a narrower net, beyond the tolerance."""
    rises = {}
    flags = []
    for stage in ALL:
        for one in plateaus(stage, evidence) if stage in evidence.folders else []:
            name = one.starts[0].optimiser if one.starts else "weights"
            best = best_runs(one.part[one.part["optimiser"] == name])
            groups = best[np.isfinite(best["loss"])].groupby("seed")["loss"]
            worst = max((float((losses / losses.cummin() - 1).max()) for _, losses in groups), default=np.nan)
            rises[f"{one.title} ({stage.removeprefix('plateau_')})"] = worst
            flags.append(worst <= one.tolerance)
    if not rises:
        return Finding(NOT_TESTED, predicted="0", detail="No plateau was run.")
    return Finding(
        HOLDS if all(flags) else UNDECIDED,
        f"at most {percent(np.nanmax(list(rises.values())))}",
        float(np.nanmax(list(rises.values()))),
        "0",
        f"{len(rises)} problems",
        f"rise above a narrower net; {'; '.join(f'{title}: {percent(rise)}' for title, rise in rises.items())}",
    )


def known_cost(stage: str, evidence: Evidence) -> Finding:
    """Whether the smallest norm of nets that meet the targets is the one of theory."""
    pairs = [
        (one.starts[0].found.floor, known)
        for one in plateaus(stage, evidence)
        if one.starts and (known := one.known("known_cost")) is not None
    ]
    if not pairs:
        return Finding(NOT_TESTED, detail="The records hold no norm that theory knows.")
    worst = max(abs(norm / known - 1) for norm, known in pairs)
    return Finding(
        always([worst <= NORM_TOLERANCE]),
        f"R = {', '.join(number_text(norm, decimals=4) for norm, _ in pairs)}",
        pairs[0][0],
        ", ".join(number_text(known) for _, known in pairs),
        draws_text([len(pairs)], "problem"),
        f"relative difference at most {number_text(worst)}",
    )


def rank_of_minimum(stage: str, evidence: Evidence) -> Finding:
    """Whether the hidden covariances of the best nets on the plateau have the known rank."""
    bounds = []
    for one in plateaus(stage, evidence):
        known = one.known("known_width")
        if one.starts and known is not None and "rank_lower_1" in one.part:
            best = (
                best_runs(one.part[one.part["width"] >= one.starts[0].found.width])
                .nsmallest(1, "loss")
                .iloc[0]
            )
            bounds.append((float(best["rank_lower_1"]), float(best["rank_upper_1"]), known))
    if not bounds or not np.isfinite(bounds).all():
        return Finding(NOT_TESTED, detail="No rank is recorded.")
    texts = [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high, _ in bounds]
    # The two bounds enclose the rank, and the band is the one number of theory.
    verdicts = [inside(low, high, least=known, most=known) for low, high, known in bounds]
    return Finding(
        together(verdicts),
        f"rank {', '.join(texts)}",
        bounds[0][0],
        ", ".join(f"{known:g}" for *_, known in bounds),
        draws_text([len(bounds)], "problem"),
        "lower and upper bound of the rank of the pair (K, K^s) of the best net on the plateau",
    )


def failed_trials(evidence: Evidence) -> Finding:
    """Whether restarts at widths on the plateau end above it with a teacher."""
    failed, tried, worst = _trials(TEACHER, evidence)
    return Finding(
        always([failed > 0] if tried else []),
        f"{failed} of {tried}",
        failed / tried if tried else np.nan,
        "some",
        f"{tried} restarts",
        f"the worst ends {percent(worst)} above" if failed else "",
    )


def harder_with_teacher(evidence: Evidence) -> Finding:
    """Whether restarts fail to reach the plateau more often with a teacher than on MNIST."""
    from scipy.stats import fisher_exact

    teacher, mnist = _trials(TEACHER, evidence), _trials(MNIST, evidence)
    if not teacher[1] or not mnist[1]:
        return Finding(NOT_TESTED, predicted="more", detail="A plateau has no restarts.")
    table = [[failed, tried - failed] for failed, tried, _ in (teacher, mnist)]
    more, fewer = (float(fisher_exact(table, alternative=side).pvalue) for side in ("greater", "less"))
    first, second = (failed / tried for failed, tried, _ in (teacher, mnist))
    return Finding(
        HOLDS if more < SIGNIFICANT else DOES_NOT if fewer < SIGNIFICANT else UNDECIDED,
        f"{percent(first)} against {percent(second)}",
        first - second,
        "more",
        f"{teacher[1]} and {mnist[1]} restarts",
        f"restarts that end above the plateau; Fisher's exact test p = {number_text(min(more, fewer))} (one side)",
    )


def _trials(stage: str, evidence: Evidence) -> tuple[int, int, float]:
    """Restarts from random weights at widths on a plateau that was seen: failed, all, and the worst height above it."""
    tried: list[float] = []
    failed: list[float] = []
    for one in plateaus(stage, evidence):
        smallest = floors(one.part)
        weights = one.part[one.part["optimiser"] == "weights"]
        for start in earliest(one.starts, tolerance=one.tolerance):
            if start.found.reached:
                mine = weights[(weights["seed"] == start.seed) & (weights["width"] >= start.found.width)]
                heights = relative_heights(mine["loss"], smallest[start.seed])
                tried += heights.tolist()
                failed += heights[heights > one.tolerance].tolist()
    return len(failed), len(tried), max(failed, default=0.0)


def _near_mnist(plateau: Plateau) -> Expected:
    text = f"{MNIST_START} ± {NEAR_NEURONS}"
    return Expected(text, lambda width: abs(width - MNIST_START) <= NEAR_NEURONS)


def _start_claims() -> list[Claim]:
    unseen = " undecided where no plateau was seen."
    exact = f"{_START}Holds if it starts exactly there; does not if elsewhere;{unseen}"
    bound = f"{_START}Holds if it starts there or before on every draw; does not if later on one;{unseen}"
    near = (
        f"{_START}Roughly means within {NEAR_NEURONS} neurons. Holds if it is so on every draw; does not if it starts "
        f"elsewhere on one;{unseen}"
    )
    listed: list[tuple[str, str, str, str, Callable[[Plateau], Expected], tuple[str, ...], str]] = [
        ("start-bipartite", "Propositions 13 and 14",
         "Complete bipartite graph on N vertices: minima need N²/4 neurons, so that N (N + 1) is tight in its order.",
         exact, lambda one: exactly(one.known("known_width")), (BIPARTITE,), "plateau_exact"),
        ("start-onehot", "Section 4.2", "One-hot targets: the plateau starts at the number of classes.",
         exact, lambda one: exactly(one.known("known_width")), (ONEHOT,), "plateau_exact"),
        ("start-scalar", "Proposition 15", "Scalar inputs and outputs: the plateau starts at 4 N neurons or before.",
         bound, lambda one: at_most(4 * one.points, f"≤ {4 * one.points}"), (SCALAR,), "plateau_exact"),
        ("start-mnist", "Figure 2", "MNIST, two hidden layers: the plateau starts roughly at width 10.",
         near, _near_mnist, (MNIST,), "plateau_mnist"),
        ("start-mnist-shallow", "Section 4.2",
         "MNIST, one hidden layer: the plateau starts roughly at width 10, the number of classes.",
         near, _near_mnist, (SHALLOW,), "plateau_mnist"),
        ("start-latest", "Proposition 7, Lemma 10",
         "The smallest loss is constant from N (N + 1) neurons on at the latest, on all data.",
         f"{bound} Nearly all widths tried lie below the bound, so it holds wherever a plateau is seen.",
         lambda one: at_most(one.points * (one.points + 1), "≤ N (N + 1)"), ALL, "plateau_exact"),
    ]  # fmt: skip
    return [
        Claim(
            identifier, JACOT, place, statement, rule, partial(start_within, stages, expected), stages, figure
        )
        for identifier, place, statement, rule, expected, stages, figure in listed
    ]


def _minimum_claims() -> list[Claim]:
    names = {BIPARTITE: "Complete bipartite graphs", ONEHOT: "One-hot targets"}
    norm = "Holds if the smallest norm over widths and restarts is that to 0.1 % on each problem; does not otherwise."
    rank = (
        "Bounds of the rank of (K, K^s) of the best net on the plateau. Holds if both are the CP-rank; does not if "
        "they exclude it; else undecided."
    )
    costs: list[tuple[str, str, str, str, Callable[..., Finding]]] = [
        ("norm", "Proposition 14", "R(X, Y) = 2 Tr (Y^T Y)^(1/2).", norm, known_cost),
        ("rank", "Propositions 8 and 14", "hidden covariances of a minimum have the CP-rank.", rank, rank_of_minimum),
    ]  # fmt: skip
    return [
        Claim(
            f"{kind}-{stage.removeprefix('plateau_')}",
            JACOT,
            place,
            f"{name}: {says}",
            rule,
            partial(check, stage),
            (stage,),
            "plateau_exact",
        )
        for stage, name in names.items()
        for kind, place, says, rule, check in costs
    ]


def _trial_claims() -> list[Claim]:
    listed: list[tuple[str, str, str, str, Callable[[Evidence], Finding], tuple[str, ...], str]] = [
        ("falling", "Proposition 6", "The smallest loss does not rise with the width, on all data.",
         "Holds if the best loss of each width lies at most the tolerance of the plateau above that of every narrower "
         "net; else undecided, as a rise is a minimum that the restarts missed: dead neurons make a narrower net a "
         "wider one of the same loss.", falling, ALL, "plateau_exact"),
        ("teacher-trials", "Figure 2 (right), appendix A",
         "With a teacher some trials end above the plateau even at large widths.",
         "Holds if a restart at or beyond the start of the plateau ends above it; does not if none does.",
         failed_trials, (TEACHER,), "plateau_teacher"),
        ("teacher-harder", "Appendix A",
         "It is easier to see a plateau on MNIST than with a teacher: more trials fail with the teacher.",
         "Shares of restarts that end above the plateau. Holds if the teacher's is larger, does not "
         "if smaller, at 2.5 % on either side by Fisher's exact test, for which the restarts of one draw count as "
         "independent; else undecided.",
         harder_with_teacher, (TEACHER, MNIST), "plateau_teacher"),
    ]  # fmt: skip
    return [Claim(one[0], JACOT, *one[1:]) for one in listed]


PLATEAU_CLAIMS: tuple[Claim, ...] = (*_start_claims(), *_minimum_claims(), *_trial_claims())
"""Claims about plateaus."""
