"""Claims about images: the two regimes on three data sets, their stability and their neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from diffstab.report.intervals import Interval, mean_interval
from diffstab.report.numbers import interval_text, number_text
from diffstab.report.paper.claims_evidence import NOT_TESTED, SLIDES, Claim, Evidence, Finding
from diffstab.report.paper.claims_rules import (
    ABOVE_RULE,
    above,
    draws_text,
    inside,
    ratio_text,
    sizes_text,
    together,
)
from diffstab.report.paper.claims_sphere import few_atoms
from diffstab.report.tables import column, paired_rows
from diffstab.results.schema import describe

DATA_SETS = {
    "mnist": ("MNIST", "images_mnist"),
    "fashion": ("Fashion-MNIST", "images_fashion"),
    "cifar10": ("CIFAR-10", "images_cifar10"),
}
"""Name and stage of each data set."""

FEATURE, LAZY, TRAINED_LAZY = "feature", "lazy_exact", "lazy_trained"
DENSE_SHARE = 0.9
"""Share of the initial atoms from which on neurons count as still dense."""
EQUAL_POINTS = 0.01
"""Difference of two test errors, one percentage point, up to which they count as equal."""
ORDER_ONE = (0.5, 2.0)

_PAIRED = "Paired differences feature − lazy (exact kernel) on the same draw. " + ABOVE_RULE.format(sizes="n")
_ATOMS = "Atoms: groups of neurons of one activation pattern on the training set that together carry 99 % of the mass. "


def difference(quantity_name: str, stage: str, evidence: Evidence) -> Finding:
    """Whether a quantity of the feature predictor is above that of the lazy one at every n."""
    rows = paired_rows(evidence.runs(stage), quantities=[quantity_name], method=FEATURE, baseline=LAZY)
    sizes = {row.n_train: Interval(row.mean, row.low, row.high, row.draws) for row in rows}
    return _at_sizes(quantity_name, sizes, predicted="> 0")


def less_stable_than_at_start(stage: str, evidence: Evidence) -> Finding:
    """Whether training raises R of the feature net at every n."""
    part = _feature(evidence.runs(stage))
    change = column(part, "R") - column(part, "init_R")
    return _at_sizes("R", _by_size(part, change), predicted="> 0")


def stability_at_start(evidence: Evidence) -> Finding:
    """Whether R of untrained nets is of order one on every data set."""
    found = {}
    for name, stage in DATA_SETS.values():
        if stage in evidence.folders:
            # A seed draws the same weights for every n, so it counts once.
            part = _feature(evidence.runs(stage)).drop_duplicates("seed")
            found[name] = mean_interval(column(part, "init_R"))
    if not found:
        return Finding(NOT_TESTED, predicted="of order 1", detail="No stage of images was run.")
    verdicts = [inside(one.low, one.high, least=ORDER_ONE[0], most=ORDER_ONE[1]) for one in found.values()]
    texts = [f"{name}: {interval_text('R', *one[:3])}" for name, one in found.items()]
    means = [one.mean for one in found.values()]
    measured = f"{number_text(min(means))} to {number_text(max(means))}"
    return Finding(
        together(verdicts),
        measured,
        float(np.mean(means)),
        "of order 1",
        draws_text(one.draws for one in found.values()),
        "; ".join(texts),
    )


def sparser(stage: str, evidence: Evidence) -> Finding:
    """Whether training leaves fewer atoms than there were at every n."""
    part = _feature(evidence.runs(stage))
    sizes = _by_size(part, _shrinking(part))
    return _ratios(sizes, above, "< 1")


def dense(stage: str, evidence: Evidence) -> Finding:
    """Whether the trained lazy net keeps nine tenths of its atoms at every n."""
    part = _method(evidence.runs(stage), TRAINED_LAZY)
    sizes = _by_size(part, _shrinking(part))
    # The share is at least 0.9 where the logarithm of its inverse is at most -log10(0.9).
    most = -np.log10(DENSE_SHARE)
    return _ratios(sizes, lambda one: inside(one.low, one.high, least=-np.inf, most=most), f"≥ {DENSE_SHARE}")


def lazy_is_its_kernel(stage: str, evidence: Evidence) -> Finding:
    """Whether a wide net trained in the lazy regime has the test error of the exact kernel at every n."""
    rows = paired_rows(evidence.runs(stage), quantities=["test_error"], method=TRAINED_LAZY, baseline=LAZY)
    sizes = {row.n_train: Interval(row.mean, row.low, row.high, row.draws) for row in rows}
    return _at_sizes(
        "test_error",
        sizes,
        predicted="0",
        verdict=lambda one: inside(one.low, one.high, least=-EQUAL_POINTS, most=EQUAL_POINTS),
    )


def _feature(frame: pd.DataFrame) -> pd.DataFrame:
    return _method(frame, FEATURE)


def _method(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame[frame["method"] == name]


def _shrinking(part: pd.DataFrame) -> pd.Series:
    """log10 of the number of atoms before training over that after it."""
    return (column(part, "init_n_atoms") / column(part, "n_atoms")).map(np.log10)


def _by_size(part: pd.DataFrame, values: pd.Series) -> dict[int, Interval]:
    groups = values.groupby(part["n_train"])
    return {int(str(n)): found for n, group in groups if (found := mean_interval(group)).draws}


def _at_sizes(
    name: str, sizes: Mapping[int, Interval], *, predicted: str, verdict: Callable[[Interval], str] = above
) -> Finding:
    """A difference judged at every n: the largest n in front, and one that decides; all of them in the detail."""
    if not sizes:
        return Finding(NOT_TESTED, predicted=predicted, detail="No draw has both sides of the comparison.")
    texts = {n: interval_text(name, *one[:3], difference=True) for n, one in sizes.items()}
    return _judged(sizes, texts, verdict, sizes[max(sizes)].mean * describe(name).factor, predicted)


def _ratios(sizes: Mapping[int, Interval], verdict: Callable[[Interval], str], predicted: str) -> Finding:
    """Shares of atoms that are left, from logarithms of their inverse, judged as in `_at_sizes`."""
    if not sizes:
        detail = "No record has atoms before and after training."
        return Finding(NOT_TESTED, predicted=predicted, detail=detail)
    texts = {n: ratio_text(-one.mean, -one.high, -one.low) for n, one in sizes.items()}
    found = _judged(sizes, texts, verdict, float(10 ** -sizes[max(sizes)].mean), predicted)
    return found._replace(detail=f"atoms after / before training; {found.detail}")


def _judged(
    sizes: Mapping[int, Interval],
    texts: Mapping[int, str],
    verdict: Callable[[Interval], str],
    value: float,
    predicted: str,
) -> Finding:
    verdicts = {n: verdict(one) for n, one in sizes.items()}
    return Finding(
        together(verdicts.values()),
        sizes_text(texts, verdicts),
        value,
        predicted,
        draws_text(one.draws for one in sizes.values()),
        "; ".join(f"n = {n}: {text}" for n, text in texts.items()),
    )


def _of_data_set(key: str) -> list[Claim]:
    name, stage = DATA_SETS[key]
    trained = "Differences R after − R before training of the feature net. " + ABOVE_RULE.format(sizes="n")
    fewer = (
        f"{_ATOMS}Holds if the 95 % interval of the mean of log(before / after) lies above 0 at every n; does not if "
        "it lies below 0 at one; else undecided."
    )
    few = f"{_ATOMS}Holds if n_A ≤ n in every run; does not if one exceeds n."
    listed: list[tuple[str, str, str, str, Callable[[Evidence], Finding], str]] = [
        ("error", "Drawbacks of learning features", "the lazy (kernel) predictor has the lower test error at every n.",
         _PAIRED, partial(difference, "test_error", stage), "test_error_vs_n"),
        ("smoothness", "Evidence for overfitting along diffeomorphisms",
         "the feature predictor is less smooth along diffeomorphisms than the lazy one (D).",
         _PAIRED, partial(difference, "D", stage), "stability_vs_n"),
        ("relative", "Drawbacks of learning features",
         "the feature predictor is less stable to diffeomorphisms relative to noise than the lazy one (R).",
         _PAIRED, partial(difference, "R", stage), "stability_vs_n"),
        ("training", "Learning features in neural networks (ii)",
         "a fully-connected net trained in the feature regime is less stable to deformations than untrained (R).",
         trained, partial(less_stable_than_at_start, stage), "stability_vs_n"),
        ("sparse", "Evidence for overfitting along diffeomorphisms", "the neurons become sparse in the feature regime.",
         fewer, partial(sparser, stage), "neurons"),
        ("atoms", "Numerical tests of the theory (i), said of the sphere",
         "the net trained with a small alpha is supported on n_A ≤ n neurons here too.",
         few, partial(few_atoms, stage, FEATURE), "neurons"),
    ]  # fmt: skip
    return [
        Claim(f"{kind}-{key}", SLIDES, place, f"{name}: {says}", rule, check, (stage,), figure)
        for kind, place, says, rule, check, figure in listed
    ]


def _shared() -> Sequence[Claim]:
    stage = DATA_SETS["mnist"][1]
    return [
        Claim(
            "dense-mnist",
            SLIDES,
            "Learning in high dimensions; Training regimes and sparsity",
            "MNIST: the neurons of the lazy net stay as dense as at initialisation.",
            _ATOMS
            + "Holds if the 95 % interval of the share of atoms that is left lies above 0.9 at every n; does "
            "not if it lies below at one; else undecided.",
            partial(dense, stage),
            (stage,),
            "neurons",
        ),
        Claim(
            "kernel-mnist",
            SLIDES,
            "Neural network and training regimes (i)",
            "MNIST: a wide net trained in the lazy regime is kernel regression with its tangent kernel: both have one "
            "test error.",
            "Paired differences trained (width 1000, alpha = 1e6) − exact. Holds if the 95 % interval lies within one "
            "percentage point of 0 at every n; does not if it lies wholly outside at one; else undecided.",
            partial(lazy_is_its_kernel, stage),
            (stage,),
            "test_error_vs_n",
        ),
        Claim(
            "initial-stability",
            SLIDES,
            "Learning features in neural networks (ii), after Petrini et al. 2021",
            "At initialisation R is of order 1: an untrained net sees a deformation as it sees noise.",
            "Holds if the 95 % interval of the mean over seeds lies within [0.5, 2] on every data set; does not if it "
            "lies wholly outside on one; else undecided.",
            stability_at_start,
            tuple(stage for _, stage in DATA_SETS.values()),
            "stability_vs_n",
        ),
    ]


IMAGE_CLAIMS: tuple[Claim, ...] = (*(claim for key in DATA_SETS for claim in _of_data_set(key)), *_shared())
"""Claims about images, data set by data set."""
