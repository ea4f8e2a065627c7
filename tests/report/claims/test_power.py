"""Error rates and power of every rule, by simulation with the code that judges."""

import math

import numpy as np
import pytest
from scipy import stats

from diffstab.report.claims.confidence import student
from diffstab.report.claims.power import DESIGNS, Reach, over_places, power_table, rates, within_band

TRIALS = 4000
SLACK = 3 * math.sqrt(0.025 * 0.975 / TRIALS)
"""Three Monte-Carlo errors of a rate of 2.5 %."""


@pytest.mark.parametrize("name", DESIGNS)
def test_wrong_verdicts_are_rare_where_there_is_no_effect(name):
    found = rates(DESIGNS[name], 0.0, trials=TRIALS)
    assert found.holds <= 0.025 + SLACK
    assert found.does_not <= 0.025 + SLACK


@pytest.mark.parametrize("name", [name for name in DESIGNS if "band" not in name and "share" not in name])
def test_both_answers_ask_for_the_same_evidence(name):
    up, down = (rates(DESIGNS[name], effect, trials=TRIALS) for effect in (1.0, -1.0))
    assert up.holds == pytest.approx(down.does_not, abs=4 * up.error(0.5))


def test_three_sizes_of_five_draws_have_the_power_of_student_s_test():
    # Weights 8, 16 and 32: a seed's mean has the standard deviation sqrt(64 + 256 + 1024) / 56 of a draw.
    for effect in (0.5, 1.0, 1.5, 2.0):
        shift = effect * 56 / math.sqrt(1344) * math.sqrt(5)
        expected = stats.nct.sf(stats.t.isf(0.025, 4), 4, shift)
        found = rates(DESIGNS["three sizes n, 5 draws"], effect, trials=TRIALS)
        assert found.holds == pytest.approx(expected, abs=4 * found.error(0.5))


def test_the_old_rule_of_every_size_had_no_power():
    # What the pooled rule replaces: each of three sizes must hold by itself.
    alone = stats.nct.sf(stats.t.isf(0.025, 4), 4, math.sqrt(5))
    assert alone**3 < 0.1 < 0.6 < rates(DESIGNS["three sizes n, 5 draws"], 1.0, trials=TRIALS).holds


def test_no_effect_is_said_where_there_is_none_and_not_at_the_margin():
    design = DESIGNS["the same with a margin of 1 sd"]
    assert rates(design, 0.0, trials=TRIALS).no_effect > 0.8
    assert rates(design, 1.0, trials=TRIALS).no_effect <= 0.025 + SLACK
    assert rates(design, -1.0, trials=TRIALS).no_effect <= 0.025 + SLACK


def test_places_that_contradict_each_other_refute_a_claim():
    # Two places with effects of 3 and -3 standard deviations: no mean of them says what is so.
    values = np.random.default_rng(0).normal(size=(5, 2)) + np.array([3.0, -3.0])
    from diffstab.report.claims.rules import decided, read_rule
    from diffstab.report.intervals import exact

    rule = read_rule("above 0")
    whole, *parts = (rule.evidence(exact(0), student(one)) for one in (values.mean(1), *values.T))
    assert whole.verdict == "undecided"
    assert decided(whole, parts) == "does not"


def test_the_middle_of_a_band_is_found_to_hold():
    assert rates(within_band(2.0, 5), 2.0, trials=TRIALS).holds > 0.8
    assert rates(within_band(2.0, 5), -2.0, trials=TRIALS).does_not > 0.8


@pytest.mark.parametrize("seeds", [5, 15])
def test_the_effect_that_would_have_been_seen_is_seen_four_times_of_five(seeds):
    # The half-width of the interval is known up to the luck of the draws: its typical value is taken.
    half = stats.t.isf(0.025, seeds - 1) / math.sqrt(seeds)
    seen = half * (1 + stats.norm.ppf(0.8) / stats.norm.isf(0.025))
    found = rates(over_places((1.0,), seeds), seen, trials=TRIALS)
    assert 0.78 < found.holds < 0.88


def test_draws_that_are_needed_grow_as_the_square():
    # 1.96 + 1.28 standard errors within the margin; at hand 1.96 + 0.84 are three times the margin.
    one = Reach(seen=0.3, wanted=0.1, draws=5)
    assert one.needed == pytest.approx(5 * (3 * 3.2415 / 2.8016) ** 2, rel=1e-3)
    assert math.isinf(Reach(0.3, 0.0, 5).needed)


def test_the_table_has_a_line_for_each_rule():
    lines = power_table(trials=50).splitlines()
    assert len(lines) == 2 + len(DESIGNS)
    assert len({line.count("|") for line in lines}) == 1
