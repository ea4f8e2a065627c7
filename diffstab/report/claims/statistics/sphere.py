"""Statistics of regression on the sphere: exponents of curves, power of single modes, shape between cusps."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import IntervalConfidence, student
from diffstab.report.claims.statistics.draws import draws, mean, of_method, slopes
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import Estimate, exact, geometric_interval, mean_interval
from diffstab.report.pages.sphere import theory
from diffstab.report.words import interval_text
from diffstab.sphere.exponents import fit_exponent, slowest_rate


@statistic("the 95 % interval of the exponent β of n^−β, extrapolated to infinite n")
def exponent(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Exponent with which a number falls with n; that of theory is the claim's, or that of target and regime."""
    part = draws(records, claim)
    try:
        fit = fit_exponent(
            part["n_train"], part["value"], slowest=slowest_rate(int(part["dimension"].iloc[0]))
        )
    except ArgumentError as error:
        raise ResultsError(f"No exponent can be fitted: {error}") from error
    place = f"n = {fit.sizes[0]} to {fit.sizes[-1]}"
    used = part[part["n_train"].isin(fit.sizes)].groupby("n_train").size()
    one = Estimate(fit.exponent, fit.low, fit.high, int(used.min()))
    predicted = float(claim.predicted) if claim.predicted else theory(part.iloc[0])
    slope = interval_text("", fit.effective, fit.effective_low, fit.effective_high)
    sure = {place: IntervalConfidence(one)}
    return Measurement({place: one}, {place: predicted}, sure, detail=f"slope at the largest n {slope}")


@statistic("the 95 % interval of the mean over draws")
def exponent_difference(records: pd.DataFrame, claim: Claim) -> Measurement:
    """By how much the exponent β of n^−β exceeds that of another method: the slopes of both on the same draws."""
    part = draws(records, claim, pair=operator.truediv)
    found = pd.Series([-slope for slope in slopes(part, is_ratio=True)], dtype=np.float64)
    if len(found) < 2:
        raise ResultsError("Fewer than two draws have several sizes.")
    place, sure = f"n = {part['n_train'].min()} to {part['n_train'].max()}", student(found, is_ratio=False)
    others = {f"ratio at n = {n}": geometric_interval(group["value"]) for n, group in part.groupby("n_train")}
    return Measurement(
        {place: mean_interval(found)},
        confidence={place: sure} if sure else {},
        others=others,
        sample=f"{len(found)} draws",
    )


@statistic("the 95 % interval of the mean over draws")
def power_share(records: pd.DataFrame, claim: Claim, *, least: float, most: float = math.inf) -> Measurement:
    """Power of the error over that of the target, summed over degrees from `least` k_c to `most` k_c."""
    part = of_method(records, claim.method)
    if absent := [name for name in ("error_power", "target_power", "learnt_degree") if name not in part]:
        raise ResultsError(f"The records have no column {', '.join(absent)}.")
    shares = []
    for _, row in part.iterrows():
        error, target = np.asarray(row["error_power"]), np.asarray(row["target_power"])
        degrees, cut = np.arange(len(error)), float(row["learnt_degree"])
        kept = (degrees >= least * cut) & (degrees <= most * cut)
        whole = float(target[kept].sum())
        shares.append(float(error[kept].sum()) / whole if whole > 0 else np.nan)
    return mean(part.assign(share=np.array(shares, dtype=np.float64)), replace(claim, value="share"))


@statistic("the largest share of the variance in a gap that no parabola explains")
def parabola_residual(records: pd.DataFrame, claim: Claim) -> Measurement:
    """How far the stored predictor of the largest n is from a parabola in each gap between its cusps."""
    part = of_method(records, claim.method)
    stored = part.dropna(subset="centres") if "centres" in part else part.iloc[:0]
    if stored.empty:
        raise ResultsError("No predictor is stored.")
    row = stored.sort_values("n_train").iloc[-1]
    atoms = np.asarray(row["centres"], dtype=np.float64).reshape(-1, 2)
    shares = parabola_residuals(atoms, np.asarray(row["coefficients"], dtype=np.float64))
    if not len(shares):
        raise ResultsError("The stored predictor has no gap in which it varies.")
    worst = exact(float(shares.max()), len(shares))
    return Measurement({f"n = {int(row['n_train'])}": worst}, sample=f"{len(shares)} gaps")


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
        if right - left >= 1e-6 and scatter >= 1e-20:
            centred = (angles - angles.mean()) / (right - left)
            rest = values - np.polyval(np.polyfit(centred, values, 2), centred)
            found.append(float((rest**2).sum()) / scatter)
    return np.array(found)
