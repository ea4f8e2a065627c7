import numpy as np
import pytest

from diffstab.errors import ResultsError
from diffstab.l2.plateau import PlateauStart
from diffstab.report.l2.plateau_runs import (
    Start,
    best_runs,
    cases,
    earliest,
    fewest_neurons,
    floors,
    plateau_frame,
    relative_heights,
    run_settings,
    starts,
)


def test_the_start_is_found_with_its_failed_restarts(plateau_runs):
    (start,) = starts(plateau_runs(), tolerance=0.01)
    assert (start.found.width, start.found.reached, start.optimiser) == (4, True, "weights")
    assert start.narrower == 3
    # Losses of 3 and 4 neurons differ by one step of the slope.
    assert start.excess == pytest.approx(0.1)
    # One of three restarts of each of the widths 4, 6 and 8.
    assert (start.failed, start.tried) == (3, 9)
    assert start.worst == pytest.approx(0.5)


def test_a_curve_that_still_falls_has_no_plateau(plateau_runs):
    (start,) = starts(plateau_runs(widths=(1, 2, 3, 4)), tolerance=0.01)
    assert not start.found.reached


def test_a_missing_restart_counts_as_one_that_found_no_net(plateau_runs):
    frame = plateau_runs()
    kept = frame[~((frame["width"] == 6) & (frame["restart"] == 0))]
    (start,) = starts(kept, tolerance=0.01)
    assert (start.found.width, start.tried) == (4, 8)


def test_runs_without_any_finite_loss_have_no_start(plateau_runs):
    assert starts(plateau_runs().assign(loss=np.inf), tolerance=0.01) == []


def test_convention_a_missing_loss_is_infinite(plateau_runs):
    frame = plateau_runs()
    again = plateau_frame(
        frame.drop(columns=["pruned_widths_1", "rank_lower_1", "rank_upper_1"]).assign(loss=np.nan)
    )
    assert np.isinf(again["loss"]).all()


def test_lists_of_layers_become_columns(plateau_runs):
    frame = plateau_runs(depth=3, cone=False)
    wide = frame[frame["width"] == 8]
    assert (wide[["pruned_widths_1", "pruned_widths_2", "rank_lower_2"]] == 4).all(axis=None)
    assert (wide["rank_upper_1"] == 5).all()
    # 18 seconds for the 18 runs trained together.
    assert frame["wall_seconds"].sum() == pytest.approx(18.0)


def test_best_runs_have_the_least_loss_of_their_width(plateau_runs):
    best = best_runs(plateau_runs())
    assert (best["restart"] == 0).all()
    assert len(best) == 7


def test_the_fewest_neurons_come_from_pruned_nets(plateau_runs):
    def change(row):
        return row | ({"pruned_widths": [2]} if row["width"] == 8 else {})

    frame = plateau_runs(change=change)
    found = fewest_neurons(frame, floors(frame)[0], tolerance=0.01)
    assert found[:3] == (2, "weights", 8)
    assert found.excess == pytest.approx(1e-3)
    # At a tolerance below what pruning costs only the covariances are left.
    assert fewest_neurons(frame, floors(frame)[0], tolerance=1e-4)[:2] == (4, "covariances")
    assert fewest_neurons(frame, 1e-3, tolerance=0.01) is None


def test_the_earliest_start_of_a_seed_counts():
    def start(seed, optimiser, width, floor=1.0):
        found = PlateauStart(width, np.nan, np.nan, width, width, True, floor, None)
        return Start(seed, optimiser, found, None, np.nan, 0, 3, 0.0)

    # The plateau that starts at 5 lies 2 % above another one.
    starts = [
        start(1, "weights", 12),
        start(0, "weights", 10),
        start(1, "shrinking", 11),
        start(1, "other", 5, 1.02),
    ]
    found = earliest(starts, tolerance=0.01)
    assert [(one.seed, one.optimiser, one.found.width) for one in found] == [
        (0, "weights", 10),
        (1, "shrinking", 11),
    ]


def test_heights_above_a_floor_of_zero():
    assert relative_heights([1.0, 1.5], 1.0) == pytest.approx([0.0, 0.5])
    assert list(relative_heights([0.0, 1e-9], 0.0)) == [0.0, np.inf]


def test_cases_are_named_for_readers(plateau_runs):
    assert [title for title, _ in cases(plateau_runs(n_train=(8, 12)))] == [
        "Teacher, n = 8",
        "Teacher, n = 12",
    ]
    assert cases(plateau_runs(dataset="digits"))[0][0] == "digits, n = 8"


def test_the_configuration_goes_before_what_records_say(plateau_runs):
    frame = plateau_runs()
    assert run_settings(frame, {})["prune_angle_deg"] == 1.0
    assert run_settings(frame, {"plateau_tolerance": 0.05})["plateau_tolerance"] == 0.05
    assert run_settings(frame.drop(columns="config"), {}) == {"plateau_tolerance": 0.01}


def test_records_of_another_kind_are_refused(plateau_runs):
    with pytest.raises(
        ResultsError, match=r"have no column optimiser, loss\. Write them with `diffstab plateau`"
    ):
        plateau_frame(plateau_runs().drop(columns=["optimiser", "loss"]))
