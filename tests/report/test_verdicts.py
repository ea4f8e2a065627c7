"""Sentences follow the numbers, whichever way they go."""

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ArgumentError
from diffstab.report.tables import SummaryRow, paired_rows
from diffstab.report.verdicts import change_from_initial, course, verdict


def rows_of(differences: dict[int, list[float]], quantity="test_error"):
    records = [
        {"dataset": "digits", "n_train": n, "seed": seed, "method": method, quantity: 0.3 + shift}
        for n, shifts in differences.items()
        for seed, difference in enumerate(shifts)
        for method, shift in (("feature", difference), ("lazy_exact", 0.0))
    ]
    return paired_rows(pd.DataFrame(records), quantities=[quantity])


def test_one_size_names_the_winner_its_draws_and_the_interval():
    sentence = verdict(rows_of({256: [0.01, 0.02, 0.03, 0.02, -0.01]}))
    assert sentence.startswith(
        "lazy (exact) has the lower test error on 4 of 5 draws at n = 256 (feature on 1)."
    )
    # Mean 1.4, standard deviation 1.517, half-width 2.776 * 1.517 / sqrt(5) = 1.88 points.
    assert sentence.endswith("Mean difference feature − lazy (exact) at n = 256: +1.4 points [−0.5, +3.3].")


def test_the_sign_turns_the_verdict_around():
    sentence = verdict(rows_of({256: [-0.02, -0.021, -0.019]}))
    assert sentence.startswith("feature has the lower test error on 3 of 3 draws")


def test_several_sizes_count_where_the_interval_decides():
    sentence = verdict(rows_of({32: [0.1, 0.11, 0.09], 64: [0.1, 0.1, -0.01], 128: [-0.2, -0.21, -0.19]}))
    assert sentence.startswith(
        "lazy (exact) has the lower test error on 5 of 9 draws over 3 sizes n (feature on 4)."
    )
    assert "lazy (exact) lower at 1, feature lower at 1, undecided at 1 of 3 sizes" in sentence


def test_equal_counts_and_ties_are_said():
    sentence = verdict(rows_of({32: [0.1, -0.1, 0.0]}))
    assert sentence.startswith(
        "feature and lazy (exact) have the lower test error equally often (3 draws at n = 32, 1 tie)."
    )


def test_single_draws_claim_no_interval():
    sentence = verdict(rows_of({32: [0.1], 64: [0.2]}))
    assert "One draw per size gives no interval over draws." in sentence
    assert sentence.endswith("+20 points (one draw, no interval).")


def test_no_rows_are_refused():
    with pytest.raises(ArgumentError, match="rows must have at least one paired row, got 0"):
        verdict([])


def test_change_from_initial_needs_a_common_size():
    after = [SummaryRow("digits", n, "feature", "R", 2.0, np.nan, np.nan, 1, "none") for n in (32, 64)]
    before = [after[0]._replace(quantity="init_R", mean=1.0)]
    expected = "R of feature at n = 32: 1 at initialisation, 2 after training."
    assert change_from_initial(after, before) == expected
    assert change_from_initial(after[1:], before) == ""


def test_course_goes_from_the_smallest_to_the_largest_size():
    rows = [SummaryRow("digits", n, "feature", "R", n / 10, np.nan, np.nan, 1, "none") for n in (64, 32, 128)]
    assert course(rows) == "feature: 3.20 at n = 32, 12.8 at n = 128"
    assert course(rows[:1]) == "feature: 6.40 at n = 64"
    assert course([]) == ""
