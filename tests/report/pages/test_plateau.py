import re

import numpy as np
import pytest
from rich.console import Console

from diffstab.errors import ResultsError
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.grid.running import run_grid
from diffstab.l2.descent import DescentSettings
from diffstab.report.page import write_report
from diffstab.report.pages import page_of
from diffstab.report.pages.plateau import answer, cautions, further, too_narrow
from diffstab.report.runs import Runs
from diffstab.report.words import percent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A real small experiment with two optimisers."""
    data = {"class_path": "datamodules.TeacherNetwork", "init_args": {"widths": [2, 2, 1], "n_test": 20}}
    experiment = PlateauExperiment(
        data=data,
        n_train=[5],
        widths=[1, 2, 3, 4],
        restarts=2,
        optimisers=["weights", "covariances"],
        depth=2,
        bias=0.0,
        descent=DescentSettings(adam_steps=300, finish_steps=100),
    )
    folder = tmp_path_factory.mktemp("results") / "run"
    run_grid(experiment, folder, console=Console(quiet=True))
    write_report(folder)
    return folder


@pytest.fixture
def runs(plateau_frame):
    """Runs of made-up records."""
    return lambda **options: Runs("plateau", plateau_frame(**options))


def test_the_page_of_a_real_run_stands_alone_with_its_figures_beside(folder):
    page = (folder / "report" / "index.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:|figures/)", page)
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    for stem in ("loss_above_smallest", "loss_vs_width", "norm_vs_width", "error_vs_width", "neurons_left"):
        assert {f"{stem}.png", f"{stem}.pdf"} <= names
    for text in (
        "How wide must a net be: Teacher",
        "lies above the smallest loss by at most",
        "lower bound",
        "n_train:",
    ):
        assert text in page


def test_the_page_repeats_to_the_byte(folder):
    first = (folder / "report" / "index.html").read_bytes()
    assert write_report(folder).read_bytes() == first


def test_the_answer_says_from_which_width_on(runs):
    assert answer(runs()) == (
        "Teacher, n = 8, one hidden layer: beyond 4 [4, 6] neurons a hidden layer (one draw), more neurons "
        "lower the loss by less than 1 %."
    )
    two = answer(runs(seeds=(0, 1), depth=3, dataset="mnist"))
    assert two.startswith(
        "MNIST, n = 8, two hidden layers: beyond 4 neurons a hidden layer (median 4, 2 draws)"
    )
    short = answer(runs(widths=(1, 2, 3)))
    assert (
        "no plateau was seen at 1 of 1 draw; the loss may fall beyond the widest net tried, of 3 neurons"
        in short
    )
    assert (
        answer(runs(widths=()))
        == "Teacher, n = 8, one hidden layer: no net of a given width found a minimum."
    )


def test_widths_that_cannot_fit_are_no_alarm(runs):
    def change(row):
        return row | ({"loss": np.inf, "converged": False} if row["width"] == 1 else {})

    narrow = runs(change=change, restarts=2)
    assert cautions(narrow) == []
    (text,) = too_narrow(narrow)
    assert "nets of width 1 are too narrow to fit the targets" in text
    assert too_narrow(runs()) == []


def test_runs_that_did_not_converge_are_cautioned(runs):
    assert cautions(runs())[0].startswith(
        "6 of 19 runs stopped before the gradient was as small as asked for"
    )
    assert cautions(runs(restarts=2)) == []


def test_sentences_tell_agreement_bound_and_pruning(runs):
    said = " ".join(further(runs()))
    assert "covariances 0 %, weights 0 %" in said
    assert "at most 0.01 % above a proven lower bound for nets of every width (1 seed)" in said
    assert "of the 8 neurons of the widest nets 4 are left" in said
    assert "bound" not in " ".join(further(runs(cone=False)))


def test_fewer_neurons_than_at_the_start_may_suffice(runs):
    def change(row):
        return row | ({"pruned_widths": [2]} if row["width"] == 8 else {})

    (said,) = (text for text in further(runs(change=change)) if "suffice" in text)
    assert "suffice: 2 at seed 0 (0.1 % above the smallest loss)" in said
    assert not any("suffice" in text for text in further(runs()))


def test_percentages_have_two_digits():
    assert [percent(value) for value in (0.0123, 3e-8, 12.0, 5e6, np.inf)] == [
        "1.2 %",
        "0 %",
        "1\u202f200 %",
        "5.00 × 10⁶-fold",
        "infinitely",
    ]


def test_tables_are_of_the_best_run_of_each_row(runs):
    shown = runs(seeds=(0, 1))
    tables = {
        name: page_of("plateau").tables[name].table(shown.frame)
        for name in ("starts", "optimisers", "widths")
    }
    assert [cell.text for cell in tables["starts"].rows[0]] == [
        "0", "4 [4, 6]", "4, 4", "10 %", "2", "3 of 9", "50 %"
    ]  # fmt: skip
    best = dict(zip(tables["optimisers"].headers, tables["optimisers"].rows[2], strict=True))
    assert (best["Optimiser"].text, best["Above the best"].text, best["Width"].text) == (
        "weights",
        "0 %",
        "4",
    )
    assert best["Converged"].text == "12 of 18"
    first = dict(zip(tables["widths"].headers, tables["widths"].rows[-1], strict=True))
    assert (first["Width"].text, first["Neurons left"].text, first["Rank"].text) == ("8", "4", "4 to 5")
    assert first["Test error"].value == pytest.approx(0.125)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="holds no records"):
        write_report(tmp_path)
