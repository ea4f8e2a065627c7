"""Claims about images on made-up records where the answer is known."""

import numpy as np
import pytest

SWAPPED = {"feature": "lazy_exact", "lazy_exact": "feature"}


@pytest.fixture
def finding(make_records, make_folder, tmp_path, judged):
    """The finding of a claim on MNIST, on records that `change` may alter."""

    def make(identifier, change=lambda records: records, **options):
        records = change(make_records(datasets=("mnist",), **options))
        folder = make_folder(tmp_path / f"{identifier}-{len(list(tmp_path.iterdir()))}", records)
        return judged(identifier, {"images_mnist": folder})

    return make


def swap(records):
    return records.assign(method=records["method"].map(SWAPPED))


def level(name):
    """Both methods have the same values of a column, apart from noise without a side."""

    def change(records):
        noise = np.random.default_rng(3).normal(size=len(records))
        return records.assign(**{name: 0.2 + 0.01 * noise})

    return change


@pytest.mark.parametrize(
    ("identifier", "name"), [("error", "test_error"), ("smoothness", "D"), ("relative", "R")]
)
def test_the_order_of_the_regimes(identifier, name, finding):
    held = finding(f"{identifier}-mnist")
    assert held.verdict == "holds"
    assert held.value > 0
    assert held.draws == "5 draws"
    assert held.measured.endswith("at n = 32 to 512")
    assert held.detail.count("n = ") == 4
    assert "when n doubles" in held.detail
    assert finding(f"{identifier}-mnist", swap).verdict == "does not"
    assert finding(f"{identifier}-mnist", level(name)).verdict in ("undecided", "no effect")


def test_a_single_draw_decides_nothing(finding):
    found = finding("error-mnist", seeds=(0,))
    assert found.verdict == "undecided"
    assert found.draws == "1 draw"


def test_a_missing_side_is_not_tested(finding):
    found = finding("error-mnist", methods=("feature",))
    assert found.verdict == "not tested"
    assert "test_error of feature and lazy_exact" in found.detail


def test_training_makes_a_net_less_stable(finding):
    assert finding("training-mnist").verdict == "holds"
    assert finding("training-mnist", lambda records: records.assign(init_R=9.0)).verdict == "does not"
    same = finding("training-mnist", lambda records: records.assign(init_R=records["R"]))
    assert same.verdict == "no effect"
    assert same.measured.endswith("no effect larger than 10 %")


def test_stability_at_the_start(finding):
    assert finding("initial-stability").verdict == "holds"
    far = finding("initial-stability", lambda records: records.assign(init_R=5 + 0.1 * records["seed"]))
    assert far.verdict == "does not"
    edge = finding("initial-stability", lambda records: records.assign(init_R=1.9 + 0.1 * records["seed"]))
    assert edge.verdict == "undecided"


def test_neurons_become_sparse(finding):
    held = finding("sparse-mnist")
    assert held.verdict == "holds"
    assert held.value == pytest.approx(0.14)
    more = finding("sparse-mnist", lambda records: records.assign(n_atoms=300.0 + records["seed"]))
    assert more.verdict == "does not"


def test_atoms_at_most_n(finding):
    # Of 15 runs all are no proof of four in five: 0.8^15 = 3.5 %.
    assert finding("atoms-mnist").verdict == "undecided"
    assert finding("atoms-mnist", seeds=range(8)).verdict == "holds"
    over = finding("atoms-mnist", lambda records: records.assign(n_atoms=2 * records["n_train"]))
    assert over.verdict == "does not"
    assert over.value == 0
    assert over.detail.endswith("the largest is 2")
    assert over.draws == "15 runs"


def test_a_single_run_over_n_refutes_nothing(finding):
    def one(records):
        records.loc[records["method"] == "feature", "n_atoms"] = records["n_train"]
        first = records.index[records["method"] == "feature"][0]
        records.loc[first, "n_atoms"] = 2 * records.loc[first, "n_train"]
        return records

    found = finding("atoms-mnist", one)
    assert found.verdict == "undecided"
    assert found.value == pytest.approx(100 * 14 / 15)
    assert "would have been seen with 80 % probability" in found.measured


def test_lazy_neurons_stay_dense(finding):
    def trained(share):
        return lambda records: records.assign(
            method=records["method"].replace("feature", "lazy_trained"),
            n_atoms=100 * share,
            init_n_atoms=100.0,
        )

    assert finding("dense-mnist", trained(1.0)).verdict == "holds"
    assert finding("dense-mnist", trained(0.5)).verdict == "does not"
    assert finding("dense-mnist").verdict == "not tested"


def test_a_lazy_net_is_its_kernel(make_records, make_folder, tmp_path, judged):
    def verdict(name, shift):
        records = make_records(datasets=("mnist",))
        trained = records["method"] == "feature"
        truth = records.set_index(["n_train", "seed", "method"])["test_error"]
        places = zip(records["n_train"], records["seed"], strict=True)
        base = np.array([truth[n, seed, "lazy_exact"] for n, seed in places])
        noise = 1e-4 * np.random.default_rng(1).normal(size=len(records))
        records["test_error"] = np.where(trained, base + shift + noise, records["test_error"])
        records["method"] = records["method"].replace("feature", "lazy_trained")
        return judged("kernel-mnist", {"images_mnist": make_folder(tmp_path / name, records)})

    assert verdict("same", 0.001).verdict == "holds"
    assert verdict("apart", 0.05).verdict == "does not"
    assert verdict("edge", 0.01).verdict == "undecided"
