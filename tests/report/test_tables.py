"""Summary tables against loops over the records."""

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ResultsError
from diffstab.report import tables
from diffstab.report.summaries import MEAN


def loop_mean_and_half(values):
    """Mean and 95% half-width from the tabulated Student quantiles."""
    quantile = {2: 12.7062, 3: 4.30265, 4: 3.18245, 5: 2.77645}[len(values)]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, quantile * (variance / len(values)) ** 0.5


@pytest.fixture
def frame(make_records):
    return tables.tidy_records(make_records())


def test_mean_differences_equal_a_loop_over_the_draws(frame):
    holed = frame.drop(index=frame.index[[0, 7]])
    wide = tables.difference_frame(holed, ["R"])
    values = {(r["n_train"], r["seed"], r["method"]): r["R"] for r in holed.to_dict("records")}
    table = MEAN.table(wide, x="n_train", y="delta_R")
    for row in table.itertuples():
        differences = [
            value - values[n, seed, "lazy_exact"]
            for (n, seed, method), value in values.items()
            if n == row.x and method == "feature" and (n, seed, "lazy_exact") in values
        ]
        mean, half = loop_mean_and_half(differences)
        assert row.draws == len(differences)
        assert row.y == pytest.approx(mean, rel=1e-10)
        assert row.high - row.low == pytest.approx(2 * half, rel=1e-4)
    assert table["draws"].sum() == 3 * 5 - 2


def test_convention_the_difference_is_the_first_method_minus_the_second(frame):
    raised = frame.assign(R=np.where(frame["method"] == "feature", 2.0, 0.5))
    assert set(tables.difference_frame(raised, ["R"])["delta_R"]) == {1.5}
    turned = tables.difference_frame(raised, ["R"], methods=[("lazy_exact", "feature")])
    assert set(turned["delta_R"]) == {-1.5}
    assert tables.difference_frame(raised, ["R"], methods=[("feature", "mine")]).empty


def test_pairing_removes_what_a_draw_does_to_both_sides(frame):
    noisy = frame.assign(R=frame["R"] + 10.0 * frame["seed"])
    plain, shifted = (tables.difference_frame(part, ["R"])["delta_R"] for part in (frame, noisy))
    np.testing.assert_allclose(plain, shifted, rtol=1e-9)


def test_tidy_records_keep_the_last_run_of_a_cell_and_turn_infinity_into_nan(make_records):
    records = make_records(sizes=(32,), seeds=(0,))
    again = records.assign(started_at="2027-01-01T00:00:00+00:00", R=np.inf, test_error=0.5)
    nameless = records.iloc[:1].assign(n_train=None)
    before = records.copy(deep=True)
    frame = tables.tidy_records(pd.concat([again, records, nameless], ignore_index=True).drop(columns="D"))
    assert frame["test_error"].tolist() == [0.5, 0.5]
    assert frame["R"].isna().all()
    assert not tables.is_recorded(frame, "D")
    assert frame[["n_train", "seed"]].dtypes.astype(str).tolist() == ["int64", "int64"]
    pd.testing.assert_frame_equal(records, before)


def test_types_come_from_the_values(make_records):
    records = make_records(sizes=(32,), seeds=(0, 1))
    own = {
        "place": [0, 1, 2, 3],
        "architecture": ["resnet", "vgg", "1e-6", "resnet"],
        "depth": ["18", "50", "18", "50"],
        "width": [64, 128, None, 64],
        "pretrained": [True, False, None, True],
        "layers": [[1, 2], [3], [], [4]],
        "nothing": [None] * 4,
        "D": ["0.5", "no", 0.25, None],
    }
    frame = tables.tidy_records(records.assign(**own, seed=np.repeat([2**53 + 1, 2**53 + 3], 2)))
    places = frame["place"].astype("int64").tolist()
    for name in ("architecture", "depth", "layers", "pretrained"):
        assert frame[name].tolist() == [own[name][place] for place in places]
    numbers = {
        "width": [64, 128, None, 64],
        "nothing": [None] * 4,
        "D": [0.5, None, 0.25, None],
    }
    for name, values in numbers.items():
        expected = np.array([values[place] for place in places], dtype=np.float64)
        np.testing.assert_array_equal(frame[name], expected)
    assert sorted(frame["seed"].unique()) == [2**53 + 1, 2**53 + 3]


def test_records_without_cells_are_refused():
    with pytest.raises(ResultsError, match="None of the 1 records names its dataset, n_train, seed, method"):
        tables.tidy_records(pd.DataFrame({"test_error": [0.1]}))
