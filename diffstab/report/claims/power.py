"""What the rules can tell: the effect that draws would have shown, and error rates and power by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import LEVEL, MeanConfidence, OddsConfidence, ShareConfidence, block
from diffstab.report.claims.rules import DOES_NOT, HOLDS, NO_EFFECT, UNDECIDED, decided, read_rule
from diffstab.report.claims.statistics.registry import Measurement
from diffstab.report.intervals import Estimate

RATIOS = ("ratio", "failing_odds")
"""Statistics whose distances are logarithms."""
POWER = 0.8
_HALF = float(stats.norm.isf(LEVEL))
_SEEN = 1 + float(stats.norm.ppf(POWER)) / _HALF
_BOTH = 1 + float(stats.norm.ppf((1 + POWER) / 2)) / _HALF
"""Half-widths of a 95 % interval that lie within a margin with 80 % probability where there is no effect."""


class Reach(NamedTuple):
    """How exactly draws tell a number; logarithms for a ratio, NaN where it is not known.

    Attributes:
        seen: Distance from the bound that would have been seen with 80 % probability.
        wanted: Distance that matters: the margin, half of the band, or that of the number from the bound.
        draws: Draws behind it.
    """

    seen: float
    wanted: float
    draws: int

    @property
    def needed(self) -> float:
        """Draws that decide the claim with 80 % probability or more, be there no effect or one of the margin."""
        share = self.seen / _SEEN * _BOTH / self.wanted if self.wanted else math.inf
        return self.draws * share**2


def reach_of(claim: Claim, found: Measurement, place: str) -> Reach:
    """Return how exactly the draws tell the number at a place.

    A 95 % interval reaches 1.96 standard errors to each side; a distance of 1.96 + 0.84 of them is seen with 80 %
    probability. With five draws it takes up to 6 % less, as Student's quantiles show.
    """
    assert claim.rule is not None  # claims that are tested have one
    one, is_ratio = found.estimates[place], claim.statistic in RATIOS
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.log(end) if is_ratio else end for end in (one.low, one.high))
    least, most = claim.rule.band(found.predicted.get(place, math.nan))
    half = math.log(most / least) / 2 if is_ratio and 0 < least < most else (most - least) / 2
    wanted = (math.log1p(claim.margin) if is_ratio else claim.margin) or half
    if not 0 < wanted < math.inf:
        wanted = min(abs(one.mean - end) for end in (least, most) if math.isfinite(end))
    return Reach(float(high - low) / 2 * _SEEN, wanted, one.draws)


Simulation = Callable[[float, int, np.random.Generator], Any]
"""Gives the verdicts of trials, shape (trials,), at a true effect in standard deviations of a draw above the bound."""


def over_places(
    weights: Sequence[float], seeds: int, *, more: int = 0, margin: float = 0.0, shared: float = 0.0
) -> Simulation:
    """Return a simulation of "above 0" pooled over sizes, layers or data sets.

    Args:
        weights: Of the places.
        seeds: Seeds at all of them.
        more: Further seeds at the first.
        margin: Largest effect that counts as none, in standard deviations; 0 for none.
        shared: Share of the variance that the places of one seed have in common.
    """
    rule = read_rule("above 0")

    def simulate(effect: float, trials: int, rng: np.random.Generator) -> Any:
        common = rng.normal(size=(trials, seeds, 1)) * np.sqrt(shared)
        own = rng.normal(size=(trials, seeds, len(weights))) * np.sqrt(1 - shared)
        values = effect + common + own
        blocks, columns = [block(values, weights)], [values[..., [number]] for number in range(len(weights))]
        if more:
            alone = effect + rng.normal(size=(trials, more, 1))
            blocks.append(block(alone, weights[:1]))
            columns[0] = np.concatenate([columns[0], alone], axis=1)
        parts = [rule.evidence(_NOWHERE, MeanConfidence((block(one),))) for one in columns]
        return decided(rule.evidence(_NOWHERE, MeanConfidence(tuple(blocks)), margin=margin), parts)

    return simulate


def within_band(half_width: float, seeds: int) -> Simulation:
    """Return a simulation of a band that holds what is predicted; effects count from its lower end."""
    rule = read_rule(f"within 0 {2 * half_width:g}")

    def simulate(effect: float, trials: int, rng: np.random.Generator) -> Any:
        values = effect + rng.normal(size=(trials, seeds, 1))
        return decided(rule.evidence(_NOWHERE, MeanConfidence((block(values),))))

    return simulate


def of_share(runs: int, bound: float) -> Simulation:
    """Return a simulation of "the share of runs lies above a bound"; effects move its normal quantile."""
    rule = read_rule(f"above {bound:g}")

    def simulate(effect: float, trials: int, rng: np.random.Generator) -> Any:
        count = rng.binomial(runs, float(stats.norm.cdf(stats.norm.ppf(bound) + effect)), size=trials)
        return decided(rule.evidence(_NOWHERE, ShareConfidence(count, count, runs)))

    return simulate


def of_odds(runs: int) -> Simulation:
    """Return a simulation of Fisher's test of two shares around one half, shifted apart on the normal scale."""
    rule = read_rule("above 1")

    def simulate(effect: float, trials: int, rng: np.random.Generator) -> Any:
        shares = [float(stats.norm.cdf(side * effect / 2)) for side in (1, -1)]
        first, second = (rng.binomial(runs, share, size=trials) for share in shares)
        return decided(rule.evidence(_NOWHERE, OddsConfidence(first, runs, second, runs)))

    return simulate


_NOWHERE = Estimate(0.0, 0.0, 0.0)
"""Stands for the number where its draws alone decide."""
EFFECTS = (0.0, 0.5, 1.0, 1.5, 2.0)
_IMAGES = (8.0, 16.0, 32.0)
"""Weights sqrt(n) of the sizes 64, 256 and 1024."""
DESIGNS: dict[str, Simulation] = {
    "three sizes n, 5 draws": over_places(_IMAGES, 5),
    "the same, draws of one seed half in common": over_places(_IMAGES, 5, shared=0.5),
    "three sizes, 5 draws, 15 more at the smallest": over_places(_IMAGES, 5, more=15),
    "the same with a margin of 1 sd": over_places(_IMAGES, 5, more=15, margin=1.0),
    "four sizes, 5 draws": over_places((8.0, 11.3, 16.0, 22.6), 5),
    "two layers or fields, 5 draws": over_places((1.0, 1.0), 5),
    "three data sets, 20 draws": over_places((1.0, 1.0, 1.0), 20),
    "within a band of ± 2 sd, 5 draws": within_band(2.0, 5),
    "within a band of ± 1 sd, 24 draws": within_band(1.0, 24),
    "within a band of ± 2 sd, 8 draws": within_band(2.0, 8),
    "share of 30 runs above 80 %": of_share(30, 0.8),
    "share of 50 runs above 80 %": of_share(50, 0.8),
    "odds of 45 restarts against 45": of_odds(45),
}
"""Rules with the draws and sizes of `configs/paper`."""


class Rates(NamedTuple):
    """Share of each verdict in simulated trials."""

    holds: float
    does_not: float
    no_effect: float
    undecided: float
    trials: int

    def error(self, share: float) -> float:
        """Return the Monte-Carlo error of a share."""
        return math.sqrt(share * (1 - share) / self.trials)


def rates(simulate: Simulation, effect: float, *, trials: int, seed: int = 0) -> Rates:
    """Return how often a rule gives each verdict at a true effect."""
    verdicts = simulate(effect, trials, np.random.default_rng(seed))
    holds, against, none, undecided = (
        float((verdicts == name).mean()) for name in (HOLDS, DOES_NOT, NO_EFFECT, UNDECIDED)
    )
    return Rates(holds, against, none, undecided, trials)


def power_table(*, trials: int = 4000) -> str:
    """Return a table of error rates and power in Markdown, each in % with its Monte-Carlo error.

    The first columns are those where the bound itself is true. Exponents have the interval of their fit, whose coverage
    is simulated with it.
    """
    heads = ["rule and draws", "wrong “holds”", "wrong “does not”", "“no effect”, rightly"]
    heads += [*(f"“holds” at {effect:g} sd" for effect in EFFECTS[1:]), "“does not” at −1 sd"]
    rows = (_cells(name, simulate, trials) for name, simulate in DESIGNS.items())
    return "\n".join([_line(heads), _line(["---"] * len(heads)), *map(_line, rows)])


def _cells(name: str, simulate: Simulation, trials: int) -> Iterator[str]:
    zero, *above, below = (rates(simulate, effect, trials=trials) for effect in (*EFFECTS, -1.0))
    yield name
    for share in (zero.holds, zero.does_not, zero.no_effect, *(one.holds for one in above), below.does_not):
        yield f"{100 * share:.1f} ± {100 * zero.error(share):.1f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
