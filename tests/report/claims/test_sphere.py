"""Claims about the sphere on made-up learning curves and powers."""

import numpy as np
import pandas as pd
import pytest

from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.statistics.sphere import parabola_residuals
from tests.references.sphere_records import curve_records

CLAIMS = {claim.id: claim for claim in sources_claims()}


@pytest.fixture
def finding(make_folder, tmp_path, judged):
    """The finding of a claim on records of its own stage."""

    def make(identifier, records):
        folder = make_folder(tmp_path / f"{identifier}-{len(list(tmp_path.iterdir()))}", records)
        return judged(identifier, {CLAIMS[identifier].stage[0]: folder})

    return make


@pytest.mark.parametrize(("beta", "verdict"), [(3.0, "holds"), (2.5, "does not"), (2.7, "undecided")])
def test_exponents_of_the_constant_target(beta, verdict, finding):
    found = finding("exponent-lazy-constant-d3", curve_records("constant, d = 3", {"lazy_ntk": (5, beta)}))
    assert found.verdict == verdict
    assert found.value == pytest.approx(beta, abs=0.12)
    assert "slope at the largest n" in found.detail
    assert found.predicted == "3"
    assert found.draws == "5 draws"


@pytest.mark.parametrize(
    ("identifier", "smoothness", "method", "predicted"),
    [
        ("exponent-lazy-gaussian-0.5-d2", 0.5, "lazy_ntk", 1.0),
        ("exponent-feature-gaussian-4-d3", 4.0, "feature_exact", 2.5),
        ("exponent-lazy-gaussian-4-d3", 4.0, "lazy_ntk", 3.0),
    ],
)
def test_exponents_of_gaussian_fields(identifier, smoothness, method, predicted, finding):
    dataset = f"gaussian_{smoothness:g}, d = {identifier[-1]}"
    records = curve_records(dataset, {method: (1, predicted)}, smoothness=smoothness, spread=0.01)
    found = finding(identifier, records)
    assert found.verdict == "holds"
    assert float(found.predicted) == predicted


def test_a_curve_that_is_not_there_is_not_tested(finding):
    found = finding("exponent-lazy-constant-d5", curve_records("constant, d = 3", {"lazy_ntk": (5, 3)}))
    assert found.verdict == "not tested"
    assert "target = constant, dimension = 5" in found.detail


def test_the_order_at_large_sizes_decides(finding):
    # The feature predictor is the better one up to n = 16 and the worse one from n = 32 on.
    curves = {"lazy_ntk": (300.0, 3.5), "feature_exact": (9.0, 2.2)}
    found = finding("order-constant-d3", curve_records("constant, d = 3", curves))
    assert found.verdict == "holds"
    sizes = np.array([32, 64, 128])
    pooled = np.exp(np.average(np.log(9 / 300 * sizes**1.3), weights=np.sqrt(sizes)))
    assert found.value == pytest.approx(pooled, rel=0.2)
    swapped = {"lazy_ntk": curves["feature_exact"], "feature_exact": curves["lazy_ntk"]}
    assert finding("order-constant-d3", curve_records("constant, d = 3", swapped)).verdict == "does not"
    level = {"lazy_ntk": (1.0, 3.0), "feature_exact": (1.0, 3.0)}
    assert finding("order-constant-d3", curve_records("constant, d = 3", level)).verdict == "no effect"
    assert finding("rotations", curve_records("constant, d = 3", curves)).verdict == "holds"


def test_the_order_on_an_anisotropic_target_is_the_reverse(finding):
    curves = {"lazy_ntk": (1.0, 0.8), "feature_exact": (1.0, 2.0)}
    records = curve_records("anisotropic_2, d = 5", curves, isotropic=False)
    assert finding("order-anisotropic", records).verdict == "holds"


def test_random_features_are_compared_too(finding):
    curves = {"lazy_random_features": (1.0, 3.0), "feature_exact": (3.0, 2.0)}
    records = curve_records("gaussian_4, d = 3", curves, smoothness=4.0)
    assert finding("order-random-features", records).verdict == "holds"


def test_atoms_and_cusps(finding):
    records = curve_records("constant, d = 2", {"feature_exact": (1.0, 4.0)})
    assert finding("atoms-exact", records).verdict == "holds"
    assert finding("cusps", records).verdict == "holds"
    more = records.assign(n_atoms=records["n_train"] ** 1.5)
    assert finding("atoms-exact", more).verdict == "does not"
    assert finding("cusps", more).value == pytest.approx(1.5)
    assert finding("cusps", more).verdict == "does not"


def test_parabolas_between_cusps():
    # Neurons at every 3 degrees: gaps so narrow that a cosine is a parabola.
    angles = np.deg2rad(np.arange(0, 180, 3))
    atoms = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    weights = np.random.default_rng(0).normal(size=len(atoms))
    assert parabola_residuals(atoms, weights).max() < 1e-6
    # One neuron: half a period of a cosine, which no parabola is.
    assert parabola_residuals(np.array([[1.0, 0.0]]), np.ones(1)).max() > 1e-4


def test_the_stored_predictor_is_judged(finding):
    records = curve_records("constant, d = 2", {"feature_exact": (1.0, 4.0)}, seeds=[0])
    angles = np.deg2rad(np.arange(0, 180, 3))
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1).ravel().tolist()
    stored = records.assign(centres=[centres] * len(records), coefficients=[[1.0, -0.5] * 30] * len(records))
    assert finding("parabolas", stored).verdict == "holds"
    lone = records.assign(centres=[[1.0, 0.0]] * len(records), coefficients=[[1.0]] * len(records))
    assert finding("parabolas", lone).verdict == "does not"
    assert finding("parabolas", records).verdict == "not tested"


def powers(method, below, above):
    """Records whose error has the share `below` of the target's power up to k_c = 10 and `above` from there on."""
    records = curve_records("gaussian_0.5, d = 3", {method: (1.0, 0.5)}, smoothness=0.5)
    target = (1.0 + np.arange(20)) ** -2.0
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(records))
    shares = [np.where(np.arange(20) <= 10, below, above) * (1 + one) for one in noise]
    return records.assign(
        error_power=[(target * share).tolist() for share in shares],
        target_power=[target.tolist()] * len(records),
    )


def test_modes_below_and_above(finding):
    good = powers("feature_exact", 0.02, 1.3)
    assert finding("modes-matched-feature", good).verdict == "holds"
    assert finding("modes-decorrelated-feature", good).verdict == "holds"
    bad = powers("feature_exact", 0.4, 0.5)
    assert finding("modes-matched-feature", bad).verdict == "does not"
    assert finding("modes-decorrelated-feature", bad).verdict == "does not"
    short = good.assign(error_power=[[1.0]] * len(good), target_power=[[1.0]] * len(good))
    assert finding("modes-decorrelated-feature", short).verdict == "not tested"
    assert finding("modes-matched-lazy", powers("lazy_ntk", 0.02, 1.3)).verdict == "holds"


def trained(method, factor, **options):
    """Records of a trained predictor a factor above the exact one."""
    parts = [
        curve_records("constant, d = 3", {"feature_exact": (1.0, 2.5)}, **options),
        curve_records("constant, d = 3", {method: (factor, 2.5)}, **options),
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_trained_predictor_has_the_exact_one_s_error(finding):
    same = finding("trained-minimal-norm-d3", trained("feature_decay", 1.2))
    assert same.verdict == "holds"
    assert same.value == pytest.approx(1.2, rel=0.05)
    assert finding("trained-minimal-norm-d3", trained("feature_decay", 5)).verdict == "does not"
    spread = trained("feature_decay", 2.0)
    spread["test_error"] *= np.exp(0.3 * np.random.default_rng(1).normal(size=len(spread)))
    assert finding("trained-minimal-norm-d3", spread).verdict == "undecided"
    assert finding("trained-minimal-norm-d5", same_dataset(spread)).verdict == "not tested"


def same_dataset(records):
    return records.assign(dataset="constant, d = 3")


def test_a_trained_predictor_has_the_exact_one_s_exponent(finding):
    def both(exact, alpha, *, noise=0.0):
        parts = [
            curve_records("constant, d = 3", {name: (1.0, beta)}, spread=0.02)
            for name, beta in (("feature_exact", exact), ("feature_alpha", alpha))
        ]
        scatter = np.exp(noise * np.random.default_rng(0).normal(size=len(parts[0])))
        # A draw that is hard for one predictor is hard for the other.
        return pd.concat([part.assign(test_error=part["test_error"] * scatter) for part in parts])

    same = finding("trained-exponent-alpha-d3", both(3.3, 3.35, noise=1.0))
    assert same.verdict == "holds"
    assert same.value == pytest.approx(0.05, abs=0.02)
    assert finding("trained-exponent-alpha-d3", both(2.5, 3.3)).verdict == "does not"
    assert finding("trained-exponent-alpha-d3", both(2.5, 2.0)).verdict == "does not"
    assert finding("trained-exponent-alpha-d3", both(2.5, 2.75)).verdict == "undecided"
    one = both(2.5, 2.5).query("seed == 0")
    assert finding("trained-exponent-alpha-d3", one).verdict == "not tested"


def test_atoms_of_unfinished_training_decide_nothing(finding):
    records = curve_records("constant, d = 3", {"feature_alpha": (1.0, 2.5)}).assign(stop_reason="converged")
    assert finding("trained-atoms-alpha", records).verdict == "holds"
    over = records.assign(n_atoms=2 * records["n_train"])
    assert finding("trained-atoms-alpha", over).verdict == "does not"
    unfinished = finding("trained-atoms-alpha", over.assign(stop_reason="max_steps"))
    assert unfinished.verdict == "undecided"
    assert "n = 8: 0 of 5" in unfinished.detail
