"""Claims about regression on the sphere: exponents, the order of the regimes, atoms, modes, cusps, rotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.report.intervals import Interval, mean_interval
from diffstab.report.numbers import number_text
from diffstab.report.paper.claims_evidence import (
    ABSTRACT,
    NOT_TESTED,
    SLIDES,
    Claim,
    Evidence,
    Finding,
)
from diffstab.report.paper.claims_rules import (
    NEAR_RULE,
    above,
    always,
    draws_text,
    near,
    ratio_text,
    sizes_text,
    together,
)
from diffstab.report.sphere.exponents import exponent_rows, exponent_text
from diffstab.report.tables import column, paired_rows
from diffstab.sphere.curves import fit_exponent

CONSTANT, GAUSSIAN, ANISOTROPIC = "sphere_constant", "sphere_gaussian", "sphere_anisotropic"
LAZY, RANDOM_FEATURES, FEATURE = "lazy_ntk", "lazy_random_features", "feature_exact"
MATCHED_SHARE = 0.1
"""Share of the target's power in the error, up to which modes count as matched, above one less as decorrelated."""
ABOVE_CUT = 1.25
"""Degrees count as above k_c from so many times it on: records reach 1.4 k_c in d = 3."""
PARABOLA_SHARE = 1e-4
"""Share of the variance in a gap that a parabola may leave: a gap of half a circle leaves more."""
PLACE = "Numerical tests of the theory (ii)"
ORDER_RULE = (
    "Paired differences of log test error, {first} − {second}, on the same draw, at the larger half of the sizes n "
    "that both have, as the claim is about large n. Holds if the 95 % Student interval of the mean lies above 0 at "
    "each of them; does not if it lies below 0 at one; else undecided."
)


class Ordered(NamedTuple):
    """Two predictors of which one is said to have the lower error.

    Attributes:
        worse: Method of the higher error.
        better: Method of the lower error.
        dataset: Target and dimension, as in the records.
        stage: Where they are compared.
    """

    worse: str
    better: str
    dataset: str
    stage: str


def exponent(stage: str, dataset: str, method: str, evidence: Evidence) -> Finding:
    """Whether the fitted exponent of a learning curve is the predicted one."""
    frame = evidence.runs(stage)
    part = frame[(frame["dataset"] == dataset) & (frame["method"] == method)]
    rows = exponent_rows(part) if len(part) else []
    if not rows or rows[0].fit is None:
        return Finding(NOT_TESTED, detail=f"No learning curve of {method} on {dataset} is recorded.")
    fit, predicted = rows[0].fit, rows[0].predicted
    sizes = f"n = {fit.sizes[0]} to {fit.sizes[-1]}"
    return Finding(
        near(fit.low, fit.high, predicted),
        exponent_text(fit.exponent, fit.low, fit.high),
        fit.exponent,
        number_text(predicted, decimals=2),
        draws_text(part[part["n_train"].isin(fit.sizes)].groupby("n_train").size()),
        f"fitted on {sizes}; on all sizes {exponent_text(fit.exponent_of_all, fit.low_of_all, fit.high_of_all)}",
    )


def ordered(asked: Ordered, evidence: Evidence, *, quantity: str = "mean_square_error") -> Finding:
    """Whether one predictor is above another in a quantity at each of the larger sizes."""
    frame = evidence.runs(asked.stage)
    frame = frame[frame["dataset"] == asked.dataset].copy()
    # Compared draw by draw, so on the one realisation that both saw.
    frame["mean_square_error"] = column(frame, "drawn_error").fillna(column(frame, "test_error"))
    frame["logarithm"] = np.log10(column(frame, quantity))
    rows = paired_rows(frame, quantities=["logarithm"], method=asked.worse, baseline=asked.better)
    large = rows[len(rows) // 2 :]
    if not large:
        return Finding(NOT_TESTED, predicted="> 1", detail=f"No draw of {asked.dataset} has both predictors.")
    texts = {row.n_train: ratio_text(row.mean, row.low, row.high) for row in rows}
    verdicts = {row.n_train: above(Interval(row.mean, row.low, row.high, row.draws)) for row in large}
    return Finding(
        together(verdicts.values()),
        sizes_text({n: texts[n] for n in verdicts}, verdicts),
        10 ** large[-1].mean,
        "> 1",
        draws_text(row.draws for row in large),
        f"ratio of geometric means, {'; '.join(f'n = {n}: {text}' for n, text in texts.items())}",
    )


def few_atoms(stage: str, method: str, evidence: Evidence) -> Finding:
    """Whether a feature predictor has at most n atoms in every run."""
    frame = evidence.runs(stage)
    part = frame[(frame["method"] == method) & column(frame, "n_atoms").notna()]
    if part.empty:
        return Finding(NOT_TESTED, predicted="≤ 1", detail="No record has its atoms.")
    shares = part["n_atoms"] / part["n_train"]
    over = int((shares > 1).sum())
    means = [f"n = {n}: {number_text(float(one.mean()))}" for n, one in shares.groupby(part["n_train"])]
    worst = float(shares.max())
    return Finding(
        always([over == 0]),
        f"at most {number_text(worst)}",
        worst,
        "≤ 1",
        f"{len(part)} runs",
        f"n_A / n, mean at {'; '.join(means)}; above 1 in {over} of {len(part)} runs",
    )


def matched_modes(method: str, targets: tuple[str, ...], evidence: Evidence) -> Finding:
    """Whether the error has next to none of the target's power at degrees up to half of k_c."""
    shares = _power_shares(method, targets, evidence, least=0.0, most=0.5)
    # Below a bound is above it with the sign turned.
    turned = [Interval(-one.mean, -one.high, -one.low, one.draws) for one in shares.values()]
    verdicts = [above(one, bound=-MATCHED_SHARE) for one in turned]
    return _shares(shares, together(verdicts), f"< {MATCHED_SHARE:g}", worst=max)


def decorrelated_modes(method: str, targets: tuple[str, ...], evidence: Evidence) -> Finding:
    """Whether the error has all of the target's power, and more, at the recorded degrees above k_c."""
    shares = _power_shares(method, targets, evidence, least=ABOVE_CUT, most=np.inf)
    verdicts = [above(one, bound=1 - MATCHED_SHARE) for one in shares.values()]
    return _shares(shares, together(verdicts), f"> {1 - MATCHED_SHARE:g}", worst=min)


def _power_shares(
    method: str, targets: tuple[str, ...], evidence: Evidence, *, least: float, most: float
) -> dict[str, Interval]:
    """Power of the error over that of the target at degrees within [least, most] k_c, at the largest n that has any."""
    frame = evidence.runs(GAUSSIAN)
    part = frame[(frame["method"] == method) & frame["target"].isin(targets)]
    ratios = pd.Series(
        [_power_share(row, least, most) for _, row in part.iterrows()], part.index, dtype=float
    )
    part = part.assign(ratio=ratios)[ratios.notna()]
    found = {}
    for dataset, group in part.groupby("dataset", sort=True):
        largest = group[group["n_train"] == group["n_train"].max()]
        found[str(dataset).replace("gaussian_", "ν = ")] = mean_interval(largest["ratio"])
    return found


def _power_share(row: pd.Series, least: float, most: float) -> float:
    error, target = np.asarray(row["error_power"]), np.asarray(row["target_power"])
    degrees, cut = np.arange(len(error)), float(row["learnt_degree"])
    kept = (degrees >= least * cut) & (degrees <= most * cut)
    whole = float(target[kept].sum())
    return float(error[kept].sum()) / whole if whole > 0 else np.nan


def _shares(
    shares: Mapping[str, Interval], verdict: str, predicted: str, *, worst: Callable[..., str]
) -> Finding:
    if not shares:
        return Finding(NOT_TESTED, predicted=predicted, detail="No record has powers there.")
    texts = {
        name: f"{number_text(one.mean)} [{number_text(one.low)}, {number_text(one.high)}]"
        for name, one in shares.items()
    }
    name = worst(shares, key=lambda dataset: shares[dataset].mean)
    return Finding(
        verdict,
        f"{texts[name]} ({name})",
        shares[name].mean,
        predicted,
        draws_text(one.draws for one in shares.values()),
        f"power of the error / power of the target: {'; '.join(f'{key}: {text}' for key, text in texts.items())}",
    )


def cusps(evidence: Evidence) -> Finding:
    """Whether the atoms on the circle, and with them the cusps, grow in proportion to n."""
    frame = evidence.runs(CONSTANT)
    part = frame[(frame["dimension"] == 2) & (frame["method"] == FEATURE) & column(frame, "n_atoms").gt(0)]
    if part["n_train"].nunique() < 2:
        return Finding(NOT_TESTED, predicted="1", detail="Fewer than two sizes on the circle are recorded.")
    # The fit is of a decay: the inverse of a number that grows as n falls as n^-1.
    fit = fit_exponent(part["n_train"], 1 / part["n_atoms"])
    per_point = 2 * part["n_atoms"] / part["n_train"]
    return Finding(
        near(fit.low, fit.high, 1.0),
        exponent_text(fit.exponent, fit.low, fit.high),
        fit.exponent,
        "1",
        f"{len(part)} runs",
        f"exponent of the number of cusps against n; cusps per training point (two for each neuron) "
        f"{number_text(float(per_point.min()))} to {number_text(float(per_point.max()))}",
    )


def parabolas(evidence: Evidence) -> Finding:
    """Whether the feature predictor on the circle is a parabola between its cusps."""
    frame = evidence.runs(CONSTANT)
    part = frame[(frame["dimension"] == 2) & (frame["method"] == FEATURE)]
    stored = part[[isinstance(value, np.ndarray | list) for value in column(part, "centres")]]
    if stored.empty:
        return Finding(NOT_TESTED, predicted="0", detail="No predictor on the circle is stored.")
    row = stored.sort_values("n_train").iloc[-1]
    atoms = np.asarray(row["centres"], dtype=np.float64).reshape(-1, 2)
    shares = parabola_residuals(atoms, np.asarray(row["coefficients"], dtype=np.float64))
    if not len(shares):
        return Finding(
            NOT_TESTED, predicted="0", detail="The stored predictor has no gap in which it varies."
        )
    worst = float(shares.max())
    return Finding(
        always([worst < PARABOLA_SHARE]),
        number_text(worst),
        worst,
        "0",
        f"{len(shares)} gaps",
        f"largest share of the variance within a gap that no parabola explains, n = {int(row['n_train'])}",
    )


def parabola_residuals(atoms: np.ndarray, weights: np.ndarray, *, points_per_gap: int = 25) -> np.ndarray:
    """Share of the variance within each gap between cusps that the best parabola leaves.

    Args:
        atoms: Directions of the neurons on the circle, shape (m, 2).
        weights: Signed masses, shape (m,).
        points_per_gap: Angles per gap.

    Returns:
        One share for each gap in which the predictor varies by more than rounding, shape (gaps,).
    """
    edge = np.arctan2(atoms[:, 1], atoms[:, 0]) + np.pi / 2
    edges = np.unique(np.concatenate([edge, edge + np.pi]) % (2 * np.pi))
    edges = np.append(edges, edges[:1] + 2 * np.pi)
    found = []
    for left, right in pairwise(edges):
        angles = np.linspace(left, right, points_per_gap)
        values = np.maximum(np.stack([np.cos(angles), np.sin(angles)], axis=1) @ atoms.T, 0) @ weights
        scatter = float(((values - values.mean()) ** 2).sum())
        if right - left < 1e-6 or scatter < 1e-20:
            continue
        centred = (angles - angles.mean()) / (right - left)
        rest = values - np.polyval(np.polyfit(centred, values, 2), centred)
        found.append(float((rest**2).sum()) / scatter)
    return np.array(found)


def _exponent_claims() -> list[Claim]:
    found = [
        _exponent_claim(CONSTANT, f"constant, d = {d}", method, "constant_target")
        for d in (2, 3, 5)
        for method in (LAZY, FEATURE)
    ]
    found += [
        _exponent_claim(GAUSSIAN, f"gaussian_{nu}, d = {d}", method, "gaussian_curves")
        for d in (2, 3)
        for nu in ("0.5", "1.5", "4")
        for method in (LAZY, FEATURE)
    ]
    return found


def _exponent_claim(stage: str, dataset: str, method: str, figure: str) -> Claim:
    regime = "lazy" if method == LAZY else "feature"
    formula = "min(2 (d − 1) + 2, 2 ν) / (d − 1)" if regime == "lazy" else "min((d − 1) + 3, 2 ν) / (d − 1)"
    target = dataset.replace("gaussian_", "Gaussian field of smoothness ν = ")
    statement = f"{target[:1].upper()}{target[1:]}: the {regime} test error falls as n^−β, β = {formula}."
    identifier = f"exponent-{regime}-{dataset.replace(', d = ', '-d').replace('_', '-')}"
    check = partial(exponent, stage, dataset, method)
    return Claim(identifier, SLIDES, PLACE, statement, NEAR_RULE, check, (stage,), figure)


def _order_claims() -> list[Claim]:
    listed = [
        ("order-constant-d3", ABSTRACT, "(i)", "Constant target, d = 3: lazy predictors have the lower test error.",
         Ordered(FEATURE, LAZY, "constant, d = 3", CONSTANT), "constant_target"),
        ("order-constant-d5", ABSTRACT, "(i)",
         "Constant target, d = 5: lazy predictors have the lower test error even when the dimension is large.",
         Ordered(FEATURE, LAZY, "constant, d = 5", CONSTANT), "constant_target"),
        ("order-smooth", SLIDES, "Supervised regression on the sphere",
         "Smooth Gaussian field (ν = 4, d = 3): kernel regression has the lower test error.",
         Ordered(FEATURE, LAZY, "gaussian_4, d = 3", GAUSSIAN), "gaussian_curves"),
        ("order-random-features", ABSTRACT, "first sentences",
         "Smooth Gaussian field (ν = 4, d = 3): the random-feature kernel too has the lower test error.",
         Ordered(FEATURE, RANDOM_FEATURES, "gaussian_4, d = 3", GAUSSIAN), "gaussian_curves"),
        ("order-isotropic", SLIDES, "To sum up", "A teacher of all five coordinates: feature learning is the worse.",
         Ordered(FEATURE, LAZY, "abs_teacher_1, d = 5", ANISOTROPIC), "anisotropic"),
        ("order-anisotropic", SLIDES, "Learning in high dimensions; To sum up",
         "A target of two of five coordinates, f(x_1, x_2): feature learning is the better.",
         Ordered(LAZY, FEATURE, "anisotropic_2, d = 5", ANISOTROPIC), "anisotropic"),
    ]  # fmt: skip
    return [
        Claim(
            identifier,
            document,
            place,
            statement,
            ORDER_RULE.format(first=asked.worse, second=asked.better),
            partial(ordered, asked),
            (asked.stage,),
            figure,
        )
        for identifier, document, place, statement, asked, figure in listed
    ]


def _mode_claims() -> list[Claim]:
    targets, rough = ("gaussian_0.5", "gaussian_1.5", "gaussian_4"), ("gaussian_0.5",)
    ratio = "Power of the error over power of the target, summed over the degrees {}, at the largest n that has any. "
    matched = (
        ratio.format("up to k_c / 2, k_c the degree up to which there are n modes")
        + "Holds if the 95 % interval of the mean over draws lies below 0.1 for every field and d; does not if it lies "
        "above for one; else undecided."
    )
    decorrelated = (
        ratio.format("from 1.25 k_c to the last one recorded")
        + "It is 1 or more where nothing correlates. Holds if the 95 % interval lies above 0.9 for every d; does not "
        "if it lies below for one; else undecided."
    )
    only = " On the roughest field only, where that power is far above the noise of its estimate."
    says = "The {} predictor matches the target's modes below k_c, of which there are n (spectral bias)."
    says_not = "The feature predictor decorrelates from the target above k_c."
    listed = [
        ("modes-matched-lazy", says.format("lazy"), matched, partial(matched_modes, LAZY, targets)),
        ("modes-matched-feature", says.format("feature"), matched + only, partial(matched_modes, FEATURE, rough)),
        ("modes-decorrelated-feature", says_not, decorrelated + only, partial(decorrelated_modes, FEATURE, rough)),
    ]  # fmt: skip
    place = "Generalization error asymptotics (iii): spectral bias"
    return [
        Claim(identifier, SLIDES, place, statement, rule, check, (GAUSSIAN,), "spectral_bias")
        for identifier, statement, rule, check in listed
    ]


def _other_claims() -> list[Claim]:
    rotation = Ordered(FEATURE, LAZY, "constant, d = 3", CONSTANT)
    turned = ORDER_RULE.format(first=FEATURE, second=LAZY).replace("log test error", "its logarithm")
    asymptotics = "Generalization error asymptotics (ii): d = 2"
    listed: list[tuple[str, str, str, str, Callable[[Evidence], Finding], str]] = [
        ("atoms-exact", "Neural network and training regimes (ii)",
         "The feature solution of least norm is supported on n_A ≤ n neurons.",
         "Exact predictors of the constant target, whose solver ends with independent atoms: so n_A ≤ n by "
         "construction, and that they are the least norm is what the duality gap certifies. Holds if n_A ≤ n in "
         "every run; does not if one exceeds n.",
         partial(few_atoms, CONSTANT, FEATURE), "constant_target"),
        ("cusps", asymptotics, "On the circle the predictor has a number of cusps proportional to n.",
         "Exponent of the number of cusps of the exact predictor against n. Holds if the whole 95 % interval lies "
         "within 10 % of 1; does not if wholly outside; else undecided.", cusps, "predictors"),
        ("parabolas", asymptotics, "On the circle the predictor is a parabola between its cusps.",
         "Constant target, the largest n. Holds if in every gap a parabola leaves less than 0.01 % of the variance.",
         parabolas, "predictors"),
        ("rotations", "To sum up; Conclusions",
         "The feature predictor is less smooth along rotations, along which the target is constant (d = 3).",
         f"Mean square change under a rotation by 10° of the test points. {turned}",
         partial(ordered, rotation, quantity="D_rotation_numerator"), "constant_target"),
    ]  # fmt: skip
    return [
        Claim(identifier, SLIDES, place, says, rule, check, (CONSTANT,), figure)
        for identifier, place, says, rule, check, figure in listed
    ]


SPHERE_CLAIMS: tuple[Claim, ...] = (
    *_exponent_claims(),
    *_order_claims(),
    *_mode_claims(),
    *_other_claims(),
)
"""Claims about regression on the sphere by predictors that are solved rather than trained."""
