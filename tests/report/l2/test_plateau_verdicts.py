import numpy as np
import pytest

from diffstab.report.l2.plateau_runs import starts
from diffstab.report.l2.plateau_verdicts import (
    agreement_verdict,
    bound_verdict,
    convergence_verdict,
    fewest_verdict,
    percent,
    pruning_verdict,
    restart_verdict,
    start_verdict,
)

TOLERANCE = 0.01


def verdict_of_start(frame):
    return start_verdict(starts(frame, tolerance=TOLERANCE), tolerance=TOLERANCE)


def test_the_start_of_one_seed(plateau_runs):
    text = verdict_of_start(plateau_runs())
    assert text.startswith(
        "weights: from 4 neurons on (from 4 at a tolerance of 0.5 %, 4 at 2 %). 95 % interval 4"
    )
    assert text.endswith("the best net of up to 3 lies 10 % higher.")


def test_the_spread_over_seeds(plateau_runs):
    def change(row):
        # At seed 1 every net of four neurons stays above the plateau.
        worse = row["seed"] == 1 and row["width"] == 4 and row["optimiser"] == "weights"
        return row | ({"loss": 3.0} if worse else {})

    text = verdict_of_start(plateau_runs(seeds=(0, 1), widths=(1, 2, 3, 4, 6, 8, 12), change=change))
    assert "from 4 to 6 neurons on over 2 seeds" in text
    assert "Seed 1: 6, 95 % interval 6" in text


def test_one_restart_has_no_interval(plateau_runs):
    assert "No interval from one restart" in verdict_of_start(plateau_runs(restarts=1))


def test_a_plateau_from_the_narrowest_net_on(plateau_runs):
    assert verdict_of_start(plateau_runs(widths=(4, 6, 8))).endswith("no narrower net was tried.")


def test_no_plateau_is_said(plateau_runs):
    text = verdict_of_start(plateau_runs(widths=(1, 2, 3, 4)))
    assert text.startswith(
        "weights: no plateau seen: the loss falls up to 4 neurons, and fewer than two wider"
    )
    assert start_verdict([], tolerance=TOLERANCE) == "No net of a given width found a minimum."


def test_a_plateau_at_some_seeds_only(plateau_runs):
    def change(row):
        return row | ({"loss": 3.0} if row["seed"] == 1 and row["width"] < 8 else {})

    text = verdict_of_start(plateau_runs(seeds=(0, 1), cone=False, change=change))
    assert text.startswith("weights: no plateau seen at 1 of 2 seeds: the loss falls up to 8 neurons")
    assert "Seed 0: 4, 95 % interval 4 to 6" in text
    assert "Seed 1" not in text


def test_targets_that_narrow_nets_do_not_meet(plateau_runs):
    def change(row):
        return row | ({"loss": np.inf} if row["width"] < 4 else {})

    assert verdict_of_start(plateau_runs(change=change)).endswith("no net of 3 met the targets.")


def test_fewer_neurons_that_restarts_missed(plateau_runs):
    def change(row):
        return row | ({"pruned_widths": [2]} if row["width"] == 8 else {})

    frame = plateau_runs(change=change)
    text = fewest_verdict(frame, starts(frame, tolerance=TOLERANCE), tolerance=TOLERANCE)
    assert text.startswith(
        "Yes, seed 0: 2 neurons lie 0.1 % above the smallest loss (left of width 8, weights"
    )
    assert "restarts of width 2 and 3 missed it (weights)" in text
    frame = plateau_runs()
    assert fewest_verdict(frame, starts(frame, tolerance=TOLERANCE), tolerance=TOLERANCE) == ""


def test_failed_restarts_are_counted(plateau_runs):
    text = restart_verdict(starts(plateau_runs(), tolerance=TOLERANCE))
    assert (
        text == "weights: 3 of 9 restarts from the start on ended above the plateau, the worst 50 % above it."
    )


def test_optimisers_that_agree_and_one_that_does_not(plateau_runs):
    assert agreement_verdict(plateau_runs()).startswith(
        "Yes, within 1 %: above the smallest loss of a seed: weights"
    )

    def change(row):
        return row | ({"loss": 2.1} if row["optimiser"] == "covariances" else {})

    assert agreement_verdict(plateau_runs(change=change)) == (
        "No, within 1 %: covariances end 5 % above the best at seed 0."
    )
    assert agreement_verdict(plateau_runs(cone=False)) == ""


@pytest.mark.parametrize(
    ("oracle", "said"), [("exact", "(proven)"), ("heuristic", "no proof"), ("multi-start", "no proof")]
)
def test_a_bound_is_proven_only_with_an_exact_oracle(plateau_runs, oracle, said):
    def change(row):
        return row | ({"oracle": oracle} if row["optimiser"] == "covariances" else {})

    text = bound_verdict(plateau_runs(change=change))
    assert said in text
    assert text.endswith("the best net lies 0.01 % above.")


def test_an_estimate_above_a_loss_is_no_bound(plateau_runs):
    def change(row):
        return row | ({"oracle": "heuristic", "bound": 3.0} if row["optimiser"] == "covariances" else {})

    assert "no bound, as the estimate lies above a loss" in bound_verdict(plateau_runs(change=change))


def test_pruning_that_keeps_and_that_changes_the_loss(plateau_runs):
    settings = {"prune_angle_deg": 1.0}
    text = pruning_verdict(plateau_runs(), settings)
    assert text.startswith(
        "Yes, within 1 % of the smallest loss when dead neurons go and those within 1° merge."
    )
    assert text.endswith("Weights: 4 of 8 neurons are left, loss +0.1 %.")
    frame = plateau_runs()
    worse = pruning_verdict(frame.assign(pruned_loss=2.5), settings)
    assert worse.startswith("Not everywhere")
    assert worse.endswith("loss +25 %.")
    assert pruning_verdict(frame.drop(columns="pruned_loss"), settings) == ""


def test_runs_that_did_not_converge_are_counted(plateau_runs):
    text = convergence_verdict(plateau_runs())
    assert "covariances: 1 of 1 runs converged" in text
    # Restart 2 of each of the six widths.
    assert "weights: 12 of 18 runs converged" in text
    assert "0.300 at worst" in text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.01, "1 %"),
        (0.12345, "12 %"),
        (4.9e-6, "0.00049 %"),
        (1e-9, "0 %"),
        (8.8735, "887 %"),
        (5e9, "5.00e+09-fold"),
        (np.inf, "infinitely"),
    ],
)
def test_percentages(share, text):
    assert percent(share) == text


def test_a_signed_percentage():
    assert [percent(share, signed=True) for share in (0.002, -0.002, 0.0)] == ["+0.2 %", "−0.2 %", "0 %"]
