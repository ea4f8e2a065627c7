"""Rows of plateaus with a known start: heights, starts, best nets."""

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ResultsError
from diffstab.report.plateaus import (
    best_first,
    earliest,
    layer_rows,
    prepare,
    relative_heights,
    run_settings,
    starts,
)


def one_start(frame):
    (row,) = starts(frame).itertuples()
    return row


def test_the_start_is_found_with_its_failed_restarts(plateau_frame):
    start = one_start(plateau_frame())
    assert (start.start, start.is_seen, start.optimiser) == (4, True, "weights")
    assert start.start_text == "4 [4, 6]"
    # Losses of 3 and 4 neurons differ by one step of the slope.
    assert start.below == pytest.approx(0.1)
    # One of three restarts of each of the widths 4, 6 and 8.
    assert (start.failed, start.tried) == (3, 9)
    assert start.worst == pytest.approx(0.5)


def test_a_curve_that_still_falls_has_no_plateau(plateau_frame):
    start = one_start(plateau_frame(widths=(1, 2, 3, 4)))
    assert not start.is_seen
    assert start.start_text.endswith(" (not seen: too few wider nets)")


def test_a_missing_restart_counts_as_one_that_found_no_net(plateau_frame):
    frame = plateau_frame()
    start = one_start(frame[~((frame["width"] == 6) & (frame["restart"] == 0))])
    assert (start.start, start.tried) == (4, 8)


def test_runs_without_any_finite_loss_have_no_start(plateau_frame):
    found = starts(plateau_frame().assign(loss=np.inf))
    assert found.empty
    assert earliest(found).empty


def test_convention_a_missing_loss_is_infinite(plateau_frame):
    again = prepare(
        plateau_frame()[["dataset", "n_train", "seed", "optimiser", "width", "restart"]].assign(loss=np.nan),
        {},
    )
    assert np.isinf(again["loss"]).all()
    assert not again["is_best"].any()


def test_lists_of_layers_become_columns(plateau_frame):
    frame = plateau_frame(depth=3, cone=False)
    wide = frame[frame["width"] == 8]
    assert (wide[["pruned_widths_1", "pruned_widths_2", "rank_lower_2"]] == 4).all(axis=None)
    assert (wide["rank_upper_1"] == 5).all()
    assert set(wide["neurons_text"]) == {"4 · 4"}
    assert set(wide["rank_text"]) == {"4 to 5 · 4 to 5"}
    # 18 seconds for the 18 runs trained together.
    assert frame["wall_seconds"].sum() == pytest.approx(18.0)


def test_the_best_run_stands_first(plateau_frame):
    best = best_first(plateau_frame()).drop_duplicates(["optimiser", "width"])
    assert (best["restart"] == 0).all()
    assert len(best) == 7


def test_the_earliest_start_of_a_seed_counts():
    rows = [("weights", 1, 12, 1.0), ("weights", 0, 10, 1.0), ("shrinking", 1, 11, 1.0)]
    # The plateau that starts at 5 lies 2 % above another one.
    rows.append(("other", 1, 5, 1.02))
    found = pd.DataFrame(rows, columns=["optimiser", "seed", "start", "smallest"])
    first = earliest(found.assign(case="one", tolerance=0.01))
    assert [tuple(row) for row in first[["seed", "optimiser", "start"]].to_numpy()] == [
        (0, "weights", 10),
        (1, "shrinking", 11),
    ]


def test_heights_above_a_floor_of_zero():
    assert relative_heights([1.0, 1.5], 1.0) == pytest.approx([0.0, 0.5])
    assert list(relative_heights([0.0, 1e-9], 0.0)) == [0.0, np.inf]


def test_heights_and_failed_restarts_are_those_of_the_law(plateau_frame):
    frame = plateau_frame()
    best = frame[frame["is_best"]].set_index("width")["excess"]
    assert best.to_dict() == pytest.approx({1: 0.3, 2: 0.2, 3: 0.1, 4: 1e-6, 6: 1e-6, 8: 1e-6})
    failed = frame[frame["is_failed"]]
    assert set(failed["restart"]) == {2}
    assert set(failed["width"]) == {4, 6, 8}
    assert set(frame["plateau_start"].dropna()) == {4}
    assert not frame["is_best"][frame["optimiser"] == "covariances"].any()
    assert frame["loss_low"].notna().sum() == 1


def test_layers_have_rows_of_their_own(plateau_frame):
    rows = layer_rows(plateau_frame(depth=3, cone=False))
    assert set(rows["layer"]) == {"layer 1", "layer 2"}
    widest = rows[rows["width"] == 8]
    assert list(widest["neurons_left"]) == [4, 4]
    assert list(widest["rank_low"]) == [4, 4]


def test_problems_are_named_for_readers(plateau_frame):
    frame = plateau_frame(n_train=(8, 12))
    assert list(frame["problem"].unique()) == ["Teacher, n = 8", "Teacher, n = 12"]
    assert set(plateau_frame(dataset="mnist", depth=3)["case"]) == {"MNIST, n = 8, two hidden layers"}


def test_the_configuration_goes_before_what_records_say(plateau_frame):
    frame = plateau_frame()
    assert run_settings(frame, {})["prune_angle_deg"] == 1.0
    assert run_settings(frame, {"plateau_tolerance": 0.05})["plateau_tolerance"] == 0.05
    assert run_settings(frame.drop(columns="config"), {}) == {"plateau_tolerance": 0.01}


def test_records_of_another_kind_are_refused(plateau_frame):
    with pytest.raises(
        ResultsError, match=r"have no column optimiser, loss\. Write them with `diffstab plateau`"
    ):
        prepare(plateau_frame().drop(columns=["optimiser", "loss"]), {})
