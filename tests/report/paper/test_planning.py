"""Draws by power: what undecided claims need and what a time pays."""

import math

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ResultsError
from diffstab.paper.planning import Need, allotted, minutes_per_draw, needs, plan_lines
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.judging import Judgement, judge
from diffstab.report.claims.power import Reach
from diffstab.report.claims.rules import read_rule


def judgement(name, seen, *, stage="images", verdict="undecided", doubt=""):
    claim = Claim(id=name, source="a", place="b", statement="c.", stage=(stage,), rule=read_rule("above 0"))
    return Judgement(claim, verdict, reach=Reach(seen, 0.1, 5), doubt=doubt)


def test_only_undecided_claims_need_draws_the_cheapest_first():
    listed = needs(
        [
            judgement("far", 0.4),
            judgement("sure", 0.4, verdict="holds"),
            judgement("near", 0.2),
            judgement("edge", 0.01),
            judgement("doubtful", 0.4, doubt="Not at rest"),
        ],
        {"images": pd.DataFrame({"seed": [0, 0, 1], "seconds": [120.0, 120.0, 60.0]})},
    )
    assert [one.claim for one in listed] == ["near", "far", "edge", "doubtful"]
    near = listed[0]
    assert near.minutes == pytest.approx(2.0 * (near.needed - 5))
    assert math.isinf(listed[2].needed)
    assert listed[3].why == "Not at rest"


def test_the_cheapest_claims_are_paid_first_and_share_their_runs():
    listed = [
        Need("a", "one", 5, 10, 3.0, "x"),
        Need("b", "one", 5, 12, 4.0, "x"),
        Need("c", "one", 5, 9, 5.0, "y"),
    ]
    assert [one.claim for one in allotted(listed, 4.0)] == ["a", "b"]
    assert [one.claim for one in allotted(listed, 9.0)] == ["a", "b", "c"]
    assert allotted(listed, 2.0) == []


def test_a_plan_that_is_followed_decides_four_times_of_five_or_more(make_records, make_folder, tmp_path):
    claim = Claim(
        id="level",
        source="a",
        place="b",
        statement="c.",
        kind="images",
        stage=("images_mnist",),
        statistic="mean",
        value="D",
        method="feature",
        rule=read_rule("above 0"),
        margin=0.1,
        because="so",
    )
    frame = make_records(sizes=(8,), methods=("feature",), seeds=range(8))
    rng = np.random.default_rng(0)
    folder = make_folder(tmp_path / "pilot", frame.assign(D=0.3 * rng.permutation(np.linspace(-1, 1, 8))))
    (pilot,) = judge({"images_mnist": folder}, claims=[claim])
    assert pilot.verdict == "undecided"
    (need,) = needs([pilot], {"images_mnist": frame.assign(seconds=1.0)})
    needed = math.ceil(need.needed)
    # As many draws of the pilot's scatter without an effect: their interval lies within the margin.
    scatter = np.std(0.3 * np.linspace(-1, 1, 8), ddof=1)
    means = rng.normal(size=(2000, needed)) * scatter
    half = 1.96 * scatter / math.sqrt(needed)
    # More than four of five, as Student's quantile of the eight draws of the pilot is larger than that of many.
    assert 0.75 < (np.abs(means.mean(1)) + half < 0.1).mean() < 0.98


def test_a_draw_costs_the_runs_of_its_claim_at_all_sizes():
    records = pd.DataFrame(
        {
            "dimension": [2, 2, 3, 2, 2],
            "method": ["exact", "exact", "exact", "lazy", "exact"],
            "seed": [0, 0, 0, 0, 1],
            "seconds": [30.0, 60.0, 1e3, 1e3, 30.0],
        }
    )
    claim = Claim(
        id="a", source="a", place="b", statement="c.", stage=("one",), where={"dimension": 2}, method="exact"
    )
    # A minute and a half of one core, on two of them.
    assert minutes_per_draw(claim, {"one": records}) == {"one": pytest.approx(0.75)}
    assert minutes_per_draw(claim, {"one": records[records["method"] == "lazy"]}) == {}


def test_without_records_there_is_nothing_to_plan_from(tmp_path):
    with pytest.raises(ResultsError, match="No stage has records to plan from"):
        list(plan_lines({"one": tmp_path / "none"}, 10))


def test_a_plan_lists_what_is_open_in_the_records_of_stages(stage_folders):
    head, *lines, last = plan_lines(stage_folders, 10)
    assert head.startswith("undecided claim")
    assert last.startswith("The stages take 10 min; 45 min of the hour are left")
    prices = [float(line.split()[4]) for line in lines if "more draws do not help" not in line]
    assert prices
    assert all(0 <= price < np.inf for price in prices)
