"""Tables as data: rows, statistics and counts."""

import numpy as np
import pandas as pd
import pytest

from diffstab.report.document import TableCell
from diffstab.report.intervals import mean_interval
from diffstab.report.listings import COUNTS, Entry, Listing, counts, draws, signs
from diffstab.report.summaries import STATISTICS
from diffstab.report.tables import comparison_text, difference_frame, pairs, tidy_records


@pytest.fixture
def frame(make_records):
    return tidy_records(make_records(sizes=(32, 128)))


def test_rows_are_cells_of_the_grid_and_entries_their_statistics(frame):
    entries = (
        Entry("test_error"),
        Entry("steps", STATISTICS["largest value"], "Most steps"),
        counts("stop_reason"),
        draws(),
    )
    table = Listing("t", "c", ("dataset", "method", "n_train"), entries).table(frame)
    assert table.headers == ["Method", "n", "Test error", "Most steps", "Stopped by", "Draws"]
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["feature", "32"],
        ["feature", "128"],
        ["lazy (exact)", "32"],
        ["lazy (exact)", "128"],
    ]
    part = frame[(frame["method"] == "feature") & (frame["n_train"] == 32)]
    assert table.rows[0][2].value == pytest.approx(part["test_error"].mean())
    assert table.rows[0][2].text.endswith("]")
    assert [cell.text for cell in table.rows[0][3:]] == ["940", "margin: 5", "5"]


def test_what_is_not_recorded_has_no_column_and_no_row(frame):
    listing = Listing(
        "t", "c", ("method", "n_train"), (Entry("n_atoms", before="init_n_atoms"), Entry("nothing"), draws())
    )
    table = listing.table(frame)
    assert table.headers == ["Method", "n", "Atoms", "Draws"]
    assert [row[0].text for row in table.rows] == ["feature", "feature"]
    assert table.rows[0][2].text == "100 → 14"
    assert listing.table(frame.drop(columns="n_atoms")) is None


def test_differences_are_those_of_the_pairs_draw_by_draw(frame):
    wide = difference_frame(frame, ["R"])
    sides = [
        frame[frame["method"] == name].set_index(["n_train", "seed"])["R"]
        for name in ("feature", "lazy_exact")
    ]
    expected = (sides[0] - sides[1]).to_dict()
    assert {(row.n_train, row.seed): row.delta_R for row in wide.itertuples()} == pytest.approx(expected)
    assert set(wide["pair"]) == {"feature − lazy (exact)"}
    listing = Listing("t", "c", ("pair", "n_train"), (Entry("delta_R"), signs("delta_R")))
    row = listing.table(wide).rows[0]
    mean = mean_interval(wide["delta_R"][wide["n_train"] == 32])
    assert row[1].value == pytest.approx(mean.mean)
    assert row[1].text.startswith("+")
    assert row[2] == TableCell("5 of 5 (p = 0.062)", 5)


def test_methods_without_a_lazy_one_are_compared_with_the_first(frame):
    renamed = frame.replace({"method": {"feature": "wide", "lazy_exact": "cnn"}}).assign(regime="feature")
    assert pairs(renamed) == [("wide", "cnn")]
    assert pairs(frame) == [("feature", "lazy_exact")]


def test_pairs_prefer_the_exact_kernel_and_go_by_regime_then_by_name():
    methods = ["lazy_trained", "lazy_exact", "feature_adam", "mine"]
    frame = pd.DataFrame({"method": methods, "regime": ["lazy", None, "feature", "feature"]})
    assert pairs(frame) == [("feature_adam", "lazy_exact"), ("mine", "lazy_exact")]
    assert pairs(frame[frame["method"] != "lazy_exact"])[0] == ("feature_adam", "lazy_trained")
    assert pairs(frame.drop(columns="regime"))[1] == ("mine", "lazy_exact")
    assert pairs(frame.iloc[:1]) == []


def test_an_entry_in_words_is_of_the_first_record_of_a_row(frame):
    entry = Entry("R", text="{seed} of {n_train}: {R:percent}, {test_error:number}, {D:+.1f}", heading="Told")
    part = frame.assign(R=0.25, test_error=0.125, D=-1.5)
    assert entry.cell(part) == TableCell("0 of 32: 25 %, 0.125, −1.5", 0.25)
    assert entry.cell(part.assign(R=np.nan)).text == "–"
    word = Entry("method", text="{method}").cell(part)
    assert (word.text, word.is_number, word.sort_key) == ("feature", False, "feature")


def test_runs_of_which_something_is_true_are_counted(frame):
    done = COUNTS["true"]("done").cell(frame.assign(done=frame["seed"] < 2))
    assert (done.text, done.value) == ("8 of 20", 8)


@pytest.mark.parametrize(
    ("shift", "spread", "says"),
    [
        (0.5, 0.01, "lazy (exact) has a lower R than feature, by 0.5"),
        (-0.5, 0.01, "feature has a lower R than lazy (exact), by 0.5"),
        (0.0, 1.0, "cannot be told apart"),
    ],
)
def test_the_comparison_says_who_is_lower_or_that_it_cannot_be_told(frame, shift, spread, says):
    noise = np.random.default_rng(0).normal(size=5) * spread
    values = {"lazy_exact": np.zeros(5), "feature": shift + noise - noise.mean()}
    known = frame.assign(R=[values[row.method][row.seed] + 2 for row in frame.itertuples()])
    text = comparison_text(known, ["R"], ("feature", "lazy_exact"))
    assert text.startswith("at n = 128 (5 draws)")
    assert says in text
    single = known[known["seed"] == 0]
    assert "one draw is too few to tell" in comparison_text(single, ["R"], ("feature", "lazy_exact"))
    assert comparison_text(known, ["nothing"], ("feature", "lazy_exact")) == ""


@pytest.mark.parametrize(
    ("third", "says"),
    [
        (1.0, "third has the lowest R, below that of lazy (exact) by 1.0"),
        (2.0, "have the lowest R, and cannot be told"),
    ],
)
def test_of_several_methods_the_two_lowest_are_compared(frame, third, says):
    noise = np.random.default_rng(0).normal(size=5) * 0.01
    values = {"lazy_exact": 2 + noise - noise.mean(), "feature": 3 + noise}
    known = frame.assign(R=[values[row.method][row.seed] for row in frame.itertuples()])
    other = known[known["method"] == "feature"].assign(method="third", R=third)
    text = comparison_text(pd.concat([known, other]), ["R"], ("feature", "lazy_exact", "third"))
    assert says in text
    assert "feature" not in text
