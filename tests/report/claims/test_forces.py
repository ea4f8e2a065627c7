"""Claims about forces on made-up traces."""

import numpy as np
import pandas as pd
import pytest


def records(imbalance=0.01, rise=0.5, seeds=5):
    """Runs of two hidden layers; shares rise from 0.2 by about `rise`."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=(seeds, 2))
    rows = []
    for seed in range(seeds):
        row = {"key": f"run-{seed}", "seed": seed, "imbalance_3": imbalance, "stationarity": 1e-5}
        for layer in (1, 2):
            end = 0.2 + rise + noise[seed, layer - 1]
            row |= {f"imbalance_{layer}": imbalance, f"rank_{layer}": 4.0}
            row |= {f"trace_{name}_{layer}": [0.2, 0.3, end] for name in ("separation", "aligned_share")}
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def finding(make_folder, tmp_path, judged):
    def make(identifier, frame):
        folder = make_folder(tmp_path / f"{identifier}-{len(list(tmp_path.iterdir()))}", frame)
        return judged(identifier, {"forces_mnist": folder})

    return make


def test_forces_cancel(finding):
    found = finding("forces-cancel", records())
    assert found.verdict == "holds"
    assert found.value == 0.01
    assert found.draws == "5 draws"
    worst = records()
    worst.loc[0, "imbalance_3"] = 0.2
    assert finding("forces-cancel", worst).verdict == "does not"
    worst.loc[0, "stationarity"] = 3e-3
    assert finding("forces-cancel", worst).verdict == "undecided"


@pytest.mark.parametrize("identifier", ["classes-part", "neurons-align"])
def test_shares_rise_in_the_hidden_layers(identifier, finding):
    held = finding(identifier, records())
    assert held.verdict == "holds"
    assert held.value == pytest.approx(50, abs=5)
    assert finding(identifier, records(rise=-0.15)).verdict == "does not"
    # Draws differ by five points, as the margin.
    assert finding(identifier, records(rise=0.0)).verdict == "undecided"
    assert finding(identifier, records(rise=0.0, seeds=60)).verdict == "no effect"


def test_shares_that_are_not_there_are_not_tested(finding):
    without = records()
    without["trace_separation_1"] = [[np.nan, np.nan]] * len(without)
    assert finding("classes-part", without).verdict == "not tested"
