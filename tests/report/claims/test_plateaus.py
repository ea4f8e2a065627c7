"""Claims about plateaus on made-up records: the loss falls up to four neurons."""

import pytest

from tests.references.plateau_records import FLOOR, START, write_plateau_records

BIPARTITE = {"dataset": "complete_bipartite", "cone": False}
ONE_HOT = {"dataset": "one_hot", "cone": False, "config": {"interpolation": True}}
MNIST = {"dataset": "mnist", "classes": True, "cone": False, "depth": 3}


@pytest.fixture
def finding(tmp_path, judged):
    """The finding of a claim on records of given stages."""

    def make(identifier, **stages):
        root = tmp_path / f"{identifier}-{len(list(tmp_path.iterdir()))}"
        folders = {name: write_plateau_records(root / name, **options) for name, options in stages.items()}
        return judged(identifier, folders)

    return make


def known(width, cost=FLOOR):
    return lambda row: row | {"known_width": width, "known_cost": cost}


@pytest.mark.parametrize(("width", "verdict"), [(START, "holds"), (START + 1, "does not")])
def test_a_start_that_theory_knows(width, verdict, finding):
    found = finding("start-bipartite", plateau_bipartite=BIPARTITE | {"change": known(width)})
    assert found.verdict == verdict
    assert found.measured == "4 neurons"
    assert found.predicted == str(width)


def test_a_plateau_that_was_not_seen_leaves_it_open(finding):
    narrow = {"widths": (1, 2, 3), "cone": False, "dataset": "scalar"}
    assert finding("start-scalar", plateau_scalar=narrow).verdict == "undecided"


def test_mnist_starts_near_ten(finding):
    assert finding("start-mnist", plateau_mnist=MNIST | {"seeds": (0, 1)}).verdict == "does not"
    wide = MNIST | {"widths": (5, 8, 11, 14, 17)}

    def later(row):
        return row | {"loss": row["loss"] * (1.2 if row["width"] < 11 else 1.0)}

    near = finding("start-mnist", plateau_mnist=wide | {"change": later, "seeds": (0, 1)})
    assert near.verdict == "holds"
    assert near.measured.startswith("11 neurons")
    assert near.draws == "2 draws"


def test_the_latest_start_on_all_data(finding):
    found = finding("start-latest", plateau_scalar={"cone": False}, plateau_teacher={"cone": False})
    assert found.verdict == "holds"
    assert found.predicted == "≤ 72"
    late = finding("start-latest", plateau_scalar={"n_train": (1,), "cone": False})
    assert late.verdict == "does not"


def test_a_rise_of_the_best_loss_is_a_minimum_that_was_missed(finding):
    assert finding("falling", plateau_teacher={"cone": False}).verdict == "holds"

    def missed(row):
        return row | {"loss": row["loss"] * (1.5 if row["width"] == 6 else 1.0)}

    found = finding("falling", plateau_teacher={"cone": False, "change": missed})
    assert found.verdict == "undecided"
    assert found.value == pytest.approx(50)


@pytest.mark.parametrize(("cost", "verdict"), [(FLOOR, "holds"), (1.1 * FLOOR, "does not")])
def test_the_norm_of_theory(cost, verdict, finding):
    found = finding("norm-onehot", plateau_onehot=ONE_HOT | {"change": known(START, cost)})
    assert found.verdict == verdict
    assert found.value == 2


@pytest.mark.parametrize(("above", "verdict"), [(1.005, "holds"), (1.05, "does not")])
def test_one_neuron_less_is_almost_optimal(above, verdict, finding):
    def fewer(row):
        loss = FLOOR * above if row["width"] == START - 1 else row["loss"]
        return known(START)(row) | {"loss": loss}

    records = {
        "dataset": "complete_bipartite",
        "cone": False,
        "config": {"interpolation": True},
        "change": fewer,
    }
    found = finding("one-less", plateau_bipartite=records)
    assert found.verdict == verdict
    assert found.value == pytest.approx(100 * (above - 1))


def test_the_rank_of_a_minimum(finding):
    # Bounds of the made-up nets: the width up to START, and one more.
    loose = finding("rank-onehot", plateau_onehot=ONE_HOT | {"change": known(START)})
    assert loose.verdict == "undecided"
    assert loose.measured == "4.0 [4.0, 5.0]"

    def tight(row):
        return known(START)(row) | {"rank_upper": row["rank_lower"]}

    assert finding("rank-onehot", plateau_onehot=ONE_HOT | {"change": tight}).verdict == "holds"
    far = finding("rank-onehot", plateau_onehot=ONE_HOT | {"change": known(9)})
    assert far.verdict == "does not"
    assert finding("rank-onehot", plateau_onehot=ONE_HOT).verdict == "not tested"


def test_trials_that_fail(finding):
    assert finding("teacher-trials", plateau_teacher={"cone": False}).verdict == "holds"
    sure = finding("teacher-trials", plateau_teacher={"cone": False, "restarts": 2})
    assert sure.verdict == "undecided"
    many = {"cone": False, "restarts": 2, "seeds": range(20)}
    assert finding("teacher-trials", plateau_teacher=many).verdict == "no effect"


def test_trials_count_on_the_plateau_of_whichever_optimiser_saw_it(finding):
    def missed(row):
        # Every net over the weights ends 2 % above, and the last width alone less so: no plateau is seen with these.
        above = row["optimiser"] == "weights"
        return row | {"loss": row["loss"] * ((1.02 if row["width"] == 8 else 1.05) if above else 1.0)}

    both = {"nets": ["weights", "shrinking"], "cone": False, "change": missed}
    found = finding("teacher-trials", plateau_teacher=both)
    assert found.verdict == "holds"
    assert (found.value, found.draws) == (100, "9 restarts")
    assert (
        finding("teacher-trials", plateau_teacher={"cone": False, "widths": (1, 2, 3)}).verdict
        == "not tested"
    )


def test_more_trials_fail_with_the_teacher(finding):
    sure = {"cone": False, "restarts": 2, "seeds": range(4), "widths": (2, 4, 6, 8)}
    failing = sure | {"restarts": 3}
    found = finding("teacher-harder", plateau_teacher=failing, plateau_mnist=sure)
    assert found.verdict == "holds"
    assert found.draws == "36 and 24 restarts"
    assert finding("teacher-harder", plateau_teacher=sure, plateau_mnist=failing).verdict == "does not"
    assert finding("teacher-harder", plateau_teacher=failing, plateau_mnist=failing).verdict == "undecided"


def test_the_forms_of_the_loss_agree(finding):
    three = {"nets": ["weights", "representations"]}
    found = finding("three-forms", plateau_optimisers=three)
    assert found.verdict == "holds"

    def apart(row):
        return row | {"loss": row["loss"] * (1.2 if row["optimiser"] == "covariances" else 1.0)}

    assert finding("three-forms", plateau_optimisers=three | {"change": apart}).verdict == "does not"
    assert finding("three-forms", plateau_optimisers={}).verdict == "not tested"
