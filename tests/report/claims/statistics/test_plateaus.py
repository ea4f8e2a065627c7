"""The odds that restarts fail, against Fisher's exact test."""

import pandas as pd
import pytest
from scipy.stats import fisher_exact

from diffstab.report.claims.claim import Claim
from diffstab.report.claims.rules import read_rule
from diffstab.report.claims.statistics import plateaus
from diffstab.report.claims.statistics.registry import measure


@pytest.mark.parametrize("failed", [(20, 9), (9, 20), (10, 9), (0, 12), (27, 0), (0, 0)])
def test_the_interval_of_the_odds_decides_as_fisher_s_test_does(failed, monkeypatch):
    tried = (27, 27)
    listed = iter(plateaus.Trials(bad, count, 0.1) for bad, count in zip(failed, tried, strict=True))
    monkeypatch.setattr(plateaus, "trials", lambda runs: next(listed))
    claim = Claim(
        id="one", source="a", place="b", statement="c.", statistic="failing_odds", stage=("one", "two")
    )
    found = measure(claim, pd.DataFrame({"stage": ["one", "two"]}))
    table = [[bad, count - bad] for bad, count in zip(failed, tried, strict=True)]
    more, fewer = (fisher_exact(table, alternative=side).pvalue for side in ("greater", "less"))
    expected = "holds" if more < 0.025 else "does not" if fewer < 0.025 else "undecided"
    assert read_rule("above 1").evidence(found.estimates[""], found.confidence[""]).verdict == expected
