"""Statistics on made-up numbers whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics import statistic_named
from diffstab.report.claims.statistics.expressions import columns_of, evaluate
from diffstab.report.claims.statistics.registry import measure


def records(values, method="feature"):
    """One record for each seed of each n: `values` maps n to numbers."""
    rows = [
        {"stage": "", "dataset": "digits", "n_train": n, "seed": seed, "method": method, "D": value}
        for n, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows)


CLAIM = Claim(id="one", source="a", place="b", statement="c.", value="D", method="feature", by="n_train")


def both(first, second):
    return pd.concat([records(first), records(second, "lazy_exact")], ignore_index=True)


def test_the_mean_of_each_size_has_student_s_interval():
    found = measure(replace(CLAIM, statistic="mean"), records({8: [1.0, 2.0, 3.0], 16: [5.0]}))
    low, high = 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)
    assert found.others["n = 8"] == pytest.approx((2, low, high, 3), rel=1e-6)
    assert found.others["n = 16"][0] == 5
    assert math.isnan(found.others["n = 16"].low)


def test_a_difference_is_of_the_same_draw():
    frame = both({8: [1.0, 2.0, 9.0]}, {8: [0.5, 1.5]})
    found = measure(replace(CLAIM, statistic="mean", against="lazy_exact"), frame)
    assert found.estimates["n = 8"] == pytest.approx((0.5, 0.5, 0.5, 2))


def test_a_ratio_is_the_geometric_mean():
    frame = both({8: [2.0, 8.0]}, {8: [1.0, 1.0]})
    found = measure(replace(CLAIM, statistic="ratio", against="lazy_exact"), frame)
    one = found.estimates["n = 8"]
    assert one.mean == pytest.approx(4)
    # The logarithms are 1 and 3 to base 2: half-width 12.706 around 2.
    assert one.high == pytest.approx(2 ** (2 + 12.7062), rel=1e-4)
    assert one.low * one.high == pytest.approx(16)


def test_a_ratio_that_is_nowhere_positive_is_not_there():
    with pytest.raises(ResultsError, match="No record has a positive D"):
        measure(replace(CLAIM, statistic="ratio"), records({8: [0.0, -1.0]}))


def test_only_the_larger_half_of_the_sizes_is_pooled():
    claim = replace(CLAIM, statistic="mean", sizes="larger half")
    found = measure(claim, records({8: [1.0, 1.1], 16: [2.0, 2.1], 32: [3.0, 3.1]}))
    assert list(found.estimates) == ["n = 16 to 32"]
    assert list(found.parts) == ["n = 16", "n = 32"]
    assert list(found.others) == ["n = 8", "n = 16", "n = 32", "when n doubles"]


def test_the_trend_is_that_of_each_seed():
    found = measure(replace(CLAIM, statistic="mean"), records({8: [1.0, 5.0], 32: [3.0, 6.0]}))
    # Slopes 1 and 0.5 for each doubling: half-width 12.706 * 0.25.
    assert found.others["when n doubles"] == pytest.approx((0.75, 0.75 - 3.1766, 0.75 + 3.1766, 2), rel=1e-4)


def test_only_the_largest_size_of_each_place_is_judged():
    frame = records({8: [1.0, 1.0], 16: [2.0, 2.0]})
    frame = pd.concat([frame, frame[frame["n_train"] == 8].assign(dataset="other", D=5.0)])
    found = measure(replace(CLAIM, statistic="mean", by="dataset", sizes="largest"), frame)
    assert {place: one.mean for place, one in found.others.items()} == {"Digits": 2.0, "other": 5.0}
    assert found.estimates["mean over all"].mean == pytest.approx(3.5)


def test_a_share_of_runs_tells_those_of_each_size():
    claim = replace(CLAIM, statistic="share", by="", options={"at_most": 2})
    found = measure(claim, records({8: [1.0, 2.0, 3.0], 16: [5.0]}))
    assert found.estimates[""].mean == 0.5
    assert found.sample == "4 runs"
    assert found.detail == "runs within: n = 8: 2 of 3; n = 16: 0 of 1; the largest is 5"


def test_a_value_that_repeats_counts_once():
    claim = replace(CLAIM, statistic="mean", by="", options={"once": "seed"})
    found = measure(claim, records({8: [1.0, 3.0], 16: [1.0, 3.0]}))
    assert found.estimates[""].draws == 2


def test_a_run_that_has_not_ended_may_count_yet():
    frame = records({8: [2.0, 3.0, 0.5]}).assign(stop_reason=["max_steps", "converged", "converged"])
    options = {"at_most": 1, "may_fall": {"stop_reason": "max_steps"}}
    sure = measure(replace(CLAIM, statistic="share", by="", options=options), frame).confidence[""]
    assert (sure.least, sure.most, sure.trials) == (1, 2, 3)


def test_no_draw_is_said():
    claim = replace(CLAIM, statistic="mean", against="lazy_exact")
    with pytest.raises(ResultsError, match="No record has D of feature and lazy_exact on the same draw"):
        measure(claim, records({8: [1.0]}))


def test_expressions():
    assert columns_of("D / (n_train + 1) - -R") == {"D", "n_train", "R"}
    one = pd.DataFrame({"D": [6.0], "n_train": [2], "R": [1.0]})
    assert evaluate("D / (n_train + 1) - -R", one).tolist() == [3]
    assert evaluate("10", one) == 10
    assert evaluate("4 * D", pd.DataFrame({"D": [1.0, 2.0]})).tolist() == [4, 8]
    assert np.isinf(evaluate("1 / D", pd.DataFrame({"D": [0.0]}))).all()
    with pytest.raises(ResultsError, match="no column R"):
        evaluate("D - R", pd.DataFrame({"D": [1.0]}))


@pytest.mark.parametrize(
    "expression", ["D.mean()", "D if R else G", "'D'", "D > 1", "D ** 2", "__import__('os')"]
)
def test_an_expression_computes_nothing_else(expression):
    with pytest.raises(ArgumentError, match="made of columns, numbers"):
        columns_of(expression)


def test_a_statistic_that_is_not_there_is_refused():
    with pytest.raises(ArgumentError, match=r"statistic must be one of .*exponent.*, got 'median'"):
        statistic_named("median")
