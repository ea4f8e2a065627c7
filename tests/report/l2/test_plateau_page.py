import re

import numpy as np
import pytest
from rich.console import Console

from diffstab.errors import ResultsError
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.grid.running import run_grid
from diffstab.l2.descent import DescentSettings
from diffstab.report.l2.plateau import grid_size, plateau_cautions, write_plateau_report
from diffstab.report.page import write_report


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
    write_plateau_report(folder)
    return folder


def test_the_page_of_a_real_run_stands_alone_with_its_figures_beside(folder):
    page = (folder / "report" / "index.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:|figures/)", page)
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    for stem in ("loss", "norm", "error", "rank"):
        assert {f"teacher-n5-{stem}.png", f"teacher-n5-{stem}.pdf"} <= names
    for text in (
        "Where does the plateau start?",
        "Do the optimisers agree?",
        "no net of any width is below",
        "n_train:",
    ):
        assert text in page


def test_the_general_report_knows_the_folder_and_repeats_to_the_byte(folder):
    first = (folder / "report" / "index.html").read_bytes()
    assert write_report(folder).read_bytes() == first


def test_seeds_sizes_and_classes_share_a_page(plateau_folder, tmp_path):
    options = {"n_train": (8, 12), "seeds": (0, 1), "depth": 3, "classes": True, "cone": False}
    page = write_plateau_report(plateau_folder(tmp_path / "run", dataset="mnist", **options)).read_text()
    for text in ("MNIST, n = 12", "over 2 seeds", "Share of misclassified points", "Figure 2", "12.5 %"):
        assert text in page
    assert "Do the optimisers agree?" not in page


def test_a_folder_of_covariances_alone_has_tables(plateau_folder, tmp_path):
    folder = plateau_folder(tmp_path / "run", widths=())
    page = write_plateau_report(folder).read_text()
    assert "No net of a given width found a minimum." in page
    assert not list((folder / "report").glob("figures/*"))


def test_cautions_name_what_weakens_the_numbers(plateau_folder, tmp_path):
    def change(row):
        return row | ({"loss": np.inf} if row["width"] == 1 else {})

    page = write_plateau_report(
        plateau_folder(tmp_path / "run", widths=(1, 2, 3, 4), change=change)
    ).read_text()
    assert "Runs that did not converge: 4 of 13." in page
    assert "No plateau seen for Teacher, n = 8: 1 of 1 curves." in page
    assert "Restarts that met no targets, and so have no loss: 3." in page
    assert "targets not met" in page


def test_weak_numbers_are_cautioned_only_where_they_are(plateau_runs):
    frame = plateau_runs(restarts=2)
    assert plateau_cautions(frame, {}) == []
    assert plateau_cautions(frame, {"Teacher": []}) == ["No minimum of finite loss for Teacher."]


def test_runs_without_a_record_are_counted(plateau_folder, tmp_path):
    folder = plateau_folder(tmp_path / "run", config={"restarts": 4, "seeds": [0, 1]})
    # 2 seeds x (6 widths x 4 restarts + 1) asked for, 19 there.
    assert "Runs of the grid without a record: 31." in write_plateau_report(folder).read_text()
    assert grid_size({}) == grid_size({"n_train": [8], "seeds": 3}) == 0


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="holds no records"):
        write_plateau_report(tmp_path)
