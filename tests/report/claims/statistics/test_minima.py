"""Ranks and drifts of minima, on made-up records whose numbers are known."""

import pandas as pd
import pytest

from diffstab.report.claims.judging import judge_records


def judged(records, kind):
    return {one.claim.id: one for one in judge_records(records, kind)}


def ranks(*rows):
    frame = pd.DataFrame(rows, columns=["inner", "seed", "bottleneck_rank"])
    return frame.assign(dataset="h(g(x))", config="{}")


def drifts(at, starts=3):
    rows = [
        {"seed": seed, "layers": layers, "hamiltonian_drift": at(layers) * (1 + seed / 50)}
        for seed in range(starts)
        for layers in (8, 16, 32, 64)
    ]
    return pd.DataFrame(rows).assign(dataset="teacher", config="{}")


def test_the_rank_of_every_function_decides():
    right = [(k, seed, k) for k in (1, 2) for seed in range(4)]
    assert judged(ranks(*right), "bottleneck")["bottleneck-rank"].verdict == "holds"
    wrong = [(k, seed, k + 1) for k in (1, 2) for seed in range(4)]
    assert judged(ranks(*wrong), "bottleneck")["bottleneck-rank"].verdict == "does not"


def test_a_rank_that_some_functions_miss_decides_nothing():
    rows = [(2, seed, 2 + (seed == 3)) for seed in range(4)]
    one = judged(ranks(*rows), "bottleneck")["bottleneck-rank"]
    assert one.verdict == "undecided"
    assert "2, 2, 2, 3" in one.detail


def test_a_drift_in_proportion_to_one_over_the_layers_vanishes_in_the_limit():
    found = judged(drifts(lambda layers: 2 / layers), "leaky")
    assert found["leaky-exponent"].value == pytest.approx(-1, abs=1e-9)
    assert found["leaky-limit"].value == pytest.approx(0, abs=1e-9)
    assert {one.verdict for one in found.values()} == {"holds"}


def test_a_drift_that_stays_is_seen():
    found = judged(drifts(lambda layers: 0.05 + 2 / layers), "leaky")
    assert found["leaky-limit"].value == pytest.approx(100 * 0.05 * 1.02)
    assert found["leaky-limit"].verdict == "does not"
    assert found["leaky-exponent"].verdict == "does not"


def test_two_numbers_of_layers_are_no_limit():
    records = drifts(lambda layers: 2 / layers)
    assert judged(records[records["layers"] < 32], "leaky") == {}
