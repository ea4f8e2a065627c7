import pytest

from diffstab.report.l2.plateau_claims import AS_SAID, NOT_AS_SAID, UNDECIDED, claims, claims_section
from diffstab.report.l2.plateau_runs import run_settings, starts


def rows(frame, **config):
    return {
        claim.place: claim
        for claim in claims(frame, starts(frame, tolerance=0.01), run_settings(frame, config))
    }


def test_what_holds_for_all_data(plateau_runs):
    found = rows(plateau_runs(dataset="digits"))
    assert {place: claim.verdict for place, claim in found.items()} == {
        "Proposition 6": AS_SAID,
        "Proposition 7, Lemma 10": AS_SAID,
    }
    assert "N (N + 1) = 72" in found["Proposition 7, Lemma 10"].said


def test_a_loss_that_rises_with_the_width_is_told(plateau_runs):
    def change(row):
        return row | ({"loss": 3.0} if row["width"] == 8 else {})

    claim = rows(plateau_runs(change=change))["Proposition 6"]
    assert claim.verdict == NOT_AS_SAID
    assert "at most 50 % above" in claim.measured


@pytest.mark.parametrize(("known", "verdict"), [(4, AS_SAID), (6, NOT_AS_SAID)])
def test_the_known_number_of_neurons(plateau_runs, known, verdict):
    frame = plateau_runs(dataset="complete_bipartite", change=lambda row: row | {"known_width": known})
    claim = rows(frame)["Propositions 13 and 14"]
    assert claim.verdict == verdict
    assert claim.measured == "start at 4 [4, 6]"


@pytest.mark.parametrize(("known", "verdict"), [(2.001, AS_SAID), (2.1, NOT_AS_SAID)])
def test_the_known_norm(plateau_runs, known, verdict):
    frame = plateau_runs(change=lambda row: row | {"known_cost": known})
    assert rows(frame, interpolation=True)["Proposition 14"].verdict == verdict
    assert rows(frame)["Proposition 14"].verdict == UNDECIDED


def test_scalar_functions_start_before_four_times_as_many_neurons_as_points(plateau_runs):
    assert rows(plateau_runs(dataset="scalar", n_train=(2,)))["Proposition 15"].verdict == AS_SAID
    late = plateau_runs(dataset="scalar", n_train=(1,), widths=(1, 2, 3, 5, 6, 8), cone=False)
    # The start is at 5 neurons, and theory says 4 at most.
    assert rows(late)["Proposition 15"].verdict == NOT_AS_SAID
    assert "Proposition 15" not in rows(plateau_runs(dataset="scalar", depth=3, cone=False))


def test_mnist_is_held_against_ten_neurons(plateau_runs):
    options = {"dataset": "mnist", "classes": True, "cone": False}
    assert rows(plateau_runs(**options))["Figure 2"].verdict == NOT_AS_SAID
    near = plateau_runs(widths=(2, 3, 9, 12, 16), **options)
    assert rows(near)["Figure 2"].verdict == AS_SAID
    unseen = plateau_runs(widths=(2, 3, 10, 12), **options)
    claim = rows(unseen)["Figure 2"]
    assert claim.verdict == UNDECIDED
    assert "no plateau seen" in claim.measured


def test_failed_trials_with_a_teacher(plateau_runs):
    frame = plateau_runs()
    assert rows(frame)["Figure 2, appendix"].measured.startswith("3 of 9 restarts")
    assert rows(frame[frame["restart"] < 2])["Figure 2, appendix"].verdict == NOT_AS_SAID


def test_without_a_minimum_nothing_is_claimed(plateau_runs):
    assert claims(plateau_runs(), [], {"plateau_tolerance": 0.01}) == []


def test_the_list_has_all_claims(plateau_runs):
    found = list(rows(plateau_runs()).values())
    section = claims_section(found)
    assert len(section.verdicts) == len(found) == 3
    assert section.verdicts[0][1].endswith("As said.")
