import numpy as np
import pytest

from diffstab.report.pages import page_of
from diffstab.report.pages.sphere import exponents, prepare


def rows_of(records):
    """Rows of exponents by method."""
    return exponents(prepare(records, {})).set_index("method")


def line_of(records, number=0):
    """Texts of a line of the table, by heading."""
    table = page_of("sphere").tables["exponents"].table(prepare(records, {}))
    return dict(zip(table.headers, (cell.text for cell in table.rows[number]), strict=True))


def test_exponents_of_known_curves_are_found(sphere_records):
    rows = rows_of(sphere_records(spread=0.02))
    for method, exponent in {"lazy_ntk": 3.0, "feature_exact": 2.5}.items():
        found = rows.loc[method]
        # A missing smoothness is that of a constant: infinity is no number of a tidy frame.
        assert found["predicted"] == exponent
        # Noise of 0.02 over the 25 draws of five sizes leaves a standard error near 0.03: four of them.
        assert found["exponent"] == pytest.approx(exponent, abs=0.12)
        assert found["effective"] == pytest.approx(exponent, abs=0.12)
        assert found["exponent_low"] < found["exponent"] < found["exponent_high"]
        assert found["effective_low"] < found["effective"] < found["effective_high"]
        assert found["last_n"] == 128
        assert found["off_percent"] == pytest.approx(100 * (found["exponent"] / exponent - 1))
        inside = found["exponent_low"] <= exponent <= found["exponent_high"]
        assert found["is_inside"] == ("yes" if inside else "no")


def test_rough_targets_and_random_features_have_their_own_prediction(sphere_records):
    assert set(rows_of(sphere_records().assign(smoothness=0.75))["predicted"]) == {0.75}
    assert rows_of(sphere_records().assign(predictor="random_features"))["predicted"]["lazy_ntk"] == 5.0


def test_a_line_says_how_far_off_the_prediction_is_and_whether_the_interval_holds_it(sphere_records):
    line = line_of(sphere_records())
    measured = float(line["Extrapolated β"].split()[0])
    off = round(100 * (measured / float(line["Predicted β"]) - 1))
    assert float(line["Off by"].replace("−", "-").removesuffix(" %")) == pytest.approx(off, abs=1)
    assert line["Off by"][0] in "+−"
    assert line["Prediction in the interval"] in ("yes", "no")
    assert line["Extrapolated β"].count(".") == line["Slope at the largest n"].count(".") == 3
    assert line["Predicted β"] == "2.50"


def test_there_is_no_prediction_for_an_anisotropic_target(sphere_records):
    anisotropic = sphere_records().assign(isotropic=False)
    assert rows_of(anisotropic)["predicted"].isna().all()
    assert not {"Predicted β", "Off by", "Prediction in the interval"} & set(line_of(anisotropic))


def test_a_curve_of_one_size_is_not_measured(sphere_records):
    assert rows_of(sphere_records(sizes=(8,)))["exponent"].isna().all()
    assert set(line_of(sphere_records(sizes=(8,)))) == {"Method", "Predicted β"}


def test_rounding_is_left_out_visibly(sphere_records):
    records = sphere_records()
    records.loc[records["n_train"] == 8, "test_error"] = 0.0
    assert line_of(records)["Sizes n"] == "16 to 128; 5 runs at rounding left out"
    assert np.isfinite(rows_of(records)["exponent"]).all()


def test_kernel_matrices_that_are_singular_are_left_out(sphere_records):
    records = sphere_records(spread=0.02)
    singular = (records["n_train"] == 128) & (records["method"] == "lazy_ntk")
    records.loc[singular, ["test_error", "solver"]] = [1e-3, "eigh"]
    found = rows_of(records).loc["lazy_ntk"]
    assert found["sizes_text"] == "8 to 64; 5 runs at rounding left out"
    assert found["exponent_low"] < 3 < found["exponent_high"]
