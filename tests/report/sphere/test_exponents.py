import numpy as np
import pytest

from diffstab.report.sphere.exponents import ExponentRow, exponent_rows, exponent_table, exponent_text
from diffstab.report.tables import tidy_records
from diffstab.sphere import fit_exponent


def row(exponent, half, predicted):
    fit = fit_exponent([8, 16], [1.0, 0.5])._replace(
        exponent=exponent, low=exponent - half, high=exponent + half
    )
    return ExponentRow("constant, d = 3", 3, "lazy_ntk", "lazy", predicted, fit)


def test_exponents_of_known_curves_are_found(sphere_records):
    rows = {row.method: row for row in exponent_rows(tidy_records(sphere_records()))}
    for method, exponent in {"lazy_ntk": 3.0, "feature_exact": 2.5}.items():
        found = rows[method]
        # A missing smoothness is that of a constant: infinity is no number of a tidy frame.
        assert found.predicted == exponent
        # Noise of 0.1 over the 20 draws of four sizes leaves a standard error of 0.03: four of them.
        assert found.fit.exponent == pytest.approx(exponent, abs=0.12)
        assert found.fit.low < found.fit.exponent < found.fit.high
        assert found.fit.sizes[-1] == 128


def test_rough_targets_and_random_features_have_their_own_prediction(sphere_records):
    frame = tidy_records(sphere_records().assign(smoothness=0.75))
    assert {row.predicted for row in exponent_rows(frame)} == {0.75}
    frame = tidy_records(sphere_records().assign(predictor="random_features"))
    assert next(row for row in exponent_rows(frame) if row.regime == "lazy").predicted == 5.0


@pytest.mark.parametrize(
    ("measured", "off", "inside"),
    [
        (row(3.1, 0.2, 3.0), "+3 %", "yes"),
        (row(3.1, 0.05, 3.0), "+3 %", "no"),
        (row(2.4, 0.7, 3.0), "−20 %", "yes"),
    ],
)
def test_a_line_says_how_far_off_the_prediction_is_and_whether_the_interval_holds_it(measured, off, inside):
    line = exponent_table([measured]).rows[0]
    assert line[0].text == "constant target, d = 3"
    assert [cell.text for cell in line[4:6]] == [off, inside]


def test_there_is_no_prediction_for_an_anisotropic_target(sphere_records):
    rows = exponent_rows(tidy_records(sphere_records().assign(isotropic=False)))
    assert all(np.isnan(row.predicted) for row in rows)
    line = exponent_table(rows).rows[0]
    assert [cell.text for cell in line[3:6]] == ["none", "–", "–"]


def test_a_curve_of_one_size_is_not_measured(sphere_records):
    frame = tidy_records(sphere_records(sizes=(8,)))
    rows = exponent_rows(frame)
    assert [row.fit for row in rows] == [None, None]
    assert {cell.text for cell in exponent_table(rows).rows[0]} >= {"–", "not measured"}


def test_rounding_is_left_out_visibly(sphere_records):
    records = sphere_records()
    records.loc[records["n_train"] == 8, "test_error"] = 0.0
    line = exponent_table(exponent_rows(tidy_records(records))).rows[0]
    assert line[6].text == "16 to 128; 5 runs at rounding left out"


def test_the_table_has_a_cell_per_header(sphere_records):
    table = exponent_table(exponent_rows(tidy_records(sphere_records())))
    assert {len(line) for line in table.rows} == {len(table.headers)}


def test_an_exponent_without_interval_stands_alone():
    assert exponent_text(2.5, np.nan, np.nan) == "2.50"
    assert exponent_text(2.5, 2.4, 2.6) == "2.50 [2.40, 2.60]"
