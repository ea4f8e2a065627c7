"""Claims about the feature predictor on the sphere when it is trained by gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from diffstab.report.intervals import mean_interval
from diffstab.report.paper.claims_evidence import (
    DOES_NOT,
    HOLDS,
    NOT_TESTED,
    SLIDES,
    UNDECIDED,
    Claim,
    Evidence,
    Finding,
)
from diffstab.report.paper.claims_rules import NEAR_RULE, draws_text, inside, ratio_text
from diffstab.report.paper.claims_sphere import FEATURE, exponent, few_atoms
from diffstab.report.tables import column, paired_draws

STAGE = "sphere_trained"
PENALISED, SMALL_ALPHA = "feature_projected_gd", "feature_alpha"
SAME_FACTOR = 2.0
"""Factor up to which two test errors that fall over orders of magnitude count as the same."""
PLACE = "Numerical tests of the theory (i) and (ii)"
_NAMES = {PENALISED: "descent with a small l1 penalty", SMALL_ALPHA: "the alpha-trick"}


def exponent_by_training(method: str, dataset: str, evidence: Evidence) -> Finding:
    """Whether a trained predictor has the predicted exponent, at sizes where the exact one has it."""
    found = exponent(STAGE, dataset, method, evidence)
    control = exponent(STAGE, dataset, FEATURE, evidence)
    detail = f"{found.detail}; the exact predictor on the same draws: {control.measured}"
    too_small = found.verdict != NOT_TESTED and control.verdict != HOLDS
    return found._replace(verdict=UNDECIDED if too_small else found.verdict, detail=detail)


def few_atoms_at_the_end(method: str, evidence: Evidence) -> Finding:
    """Whether a trained predictor has at most n atoms, in every run that came to the end of its training."""
    found = few_atoms(STAGE, method, evidence)
    frame = evidence.runs(STAGE)
    part = frame[(frame["method"] == method) & (column(frame, "n_atoms") > frame["n_train"])]
    unfinished = int((column(part, "stop_reason") == "max_steps").sum())
    only_unfinished = found.verdict == DOES_NOT and unfinished == len(part)
    detail = f"{found.detail}, {unfinished} of these before training came to an end"
    return found._replace(verdict=UNDECIDED if only_unfinished else found.verdict, detail=detail)


def same_error(method: str, dataset: str, evidence: Evidence) -> Finding:
    """Whether a trained predictor has the test error of the exact one within a factor."""
    frame = evidence.runs(STAGE)
    frame = frame[frame["dataset"] == dataset].copy()
    frame["logarithm"] = np.log10(column(frame, "test_error"))
    draws = paired_draws(frame, quantity="logarithm", method=method, baseline=FEATURE)
    found = mean_interval(draws["difference"])
    if not found.draws:
        return Finding(NOT_TESTED, predicted="1", detail=f"No draw of {dataset} has both predictors.")
    most = float(np.log10(SAME_FACTOR))
    texts = [
        f"n = {n}: {ratio_text(*mean_interval(group)[:3])}"
        for n, group in draws["difference"].groupby(draws["n_train"])
    ]
    return Finding(
        inside(found.low, found.high, least=-most, most=most),
        ratio_text(found.mean, found.low, found.high),
        10**found.mean,
        "1",
        draws_text(draws.groupby("n_train").size()),
        f"ratio of geometric means, trained / exact; {'; '.join(texts)}",
    )


def _claims() -> list[Claim]:
    too_small = (
        " Undecided too where the exact predictor does not hold on the same sizes: they are too small."
    )
    factor = (
        "Test errors of the trained predictor and the exact one on the same draw, all sizes n together. Holds if the "
        "95 % interval of the ratio lies within a factor 2 of 1; does not if wholly outside; else undecided."
    )
    few = (
        "Atoms: groups of neurons of one activation pattern on the training set that carry 99 % of the mass. Holds if "
        "n_A ≤ n in every run; does not if one that came to the end of its training exceeds n; else undecided."
    )
    sparse = f"{_NAMES[SMALL_ALPHA].capitalize()} too finds a solution supported on n_A ≤ n neurons."
    listed: list[tuple[str, str, str, Callable[[Evidence], Finding]]] = []
    for d in (2, 3, 5):
        dataset = f"constant, d = {d}"
        for short, method in (("penalty", PENALISED), ("alpha", SMALL_ALPHA)):
            says = f"Constant, d = {d}: the predicted feature exponent holds for a net trained by {_NAMES[method]}."
            check = partial(exponent_by_training, method, dataset)
            listed.append((f"trained-exponent-{short}-d{d}", says, NEAR_RULE + too_small, check))
        says = f"Constant, d = {d}: {_NAMES[PENALISED]} recovers the solution of least norm."
        listed.append((f"trained-minimal-norm-d{d}", says, factor, partial(same_error, PENALISED, dataset)))
    listed.append(("trained-atoms-alpha", sparse, few, partial(few_atoms_at_the_end, SMALL_ALPHA)))
    return [
        Claim(identifier, SLIDES, PLACE, says, rule, check, (STAGE,), "constant_target")
        for identifier, says, rule, check in listed
    ]


TRAINED_CLAIMS: tuple[Claim, ...] = tuple(_claims())
"""Claims about predictors on the sphere that are trained."""
