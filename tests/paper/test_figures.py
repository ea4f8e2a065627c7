"""The scripts of `reports/`: what they draw, where they write, and what they refuse."""

import csv
import runpy
import sys
from pathlib import Path

import pytest

from diffstab.paper import figures
from diffstab.report.document import Cell, Picture, Table
from diffstab.report.paper.drawn import Drawn
from diffstab.report.paper.figures import FIGURES
from diffstab.report.rendering import render

SCRIPTS = sorted((Path(__file__).parents[2] / "reports").glob("*.py"))


def test_every_figure_has_a_script():
    assert [path.stem for path in SCRIPTS] == sorted(FIGURES)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_draws_its_own_figure(path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "main", lambda name: drawn.append(name) or 0)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert (drawn, stop.value.code) == ([path.stem], 0)
    assert f"python -m reports.{path.stem}" in path.read_text()


def test_a_figure_that_needs_no_run_is_written_as_png_and_pdf(place, capsys):
    assert figures.main("gaussian_pictures", []) == 0
    written = [f"gaussian_pictures-fields-d{d}.{kind}" for d in (2, 3) for kind in ("png", "pdf")]
    assert capsys.readouterr().out.split() == [f"results/figures/{name}" for name in written]
    assert (place / "results/figures" / written[0]).read_bytes().startswith(b"\x89PNG")
    assert (place / "results/figures" / written[1]).read_bytes().startswith(b"%PDF")


def test_missing_runs_are_made_first(place, monkeypatch):
    asked = []

    def run_stages(names, root, *, full):
        asked.append((tuple(names), root, full))
        return {name: place / name for name in names}

    monkeypatch.setattr("diffstab.paper.running.run_stages", run_stages)
    # The stages are made up and left no records, so that drawing is refused after them.
    assert figures.main("forces", ["--full", "--root", "runs"]) == 2
    assert asked == [(("forces_mnist",), "runs", True)]


def test_given_folders_are_drawn_from_and_nothing_is_run(place, capsys):
    assert figures.main("forces", [str(place / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("reports.forces: ")
    assert "nowhere" in said
    assert list(place.iterdir()) == []


def test_folders_of_one_name_are_told_apart():
    assert list(figures._given(["a/run", "b/run"])) == ["a/run", "b/run"]
    assert list(figures._given(["a/one", "b/two"])) == ["one", "two"]


def test_tables_are_written_as_comma_separated_values(tmp_path):
    first, second = (Table("t", ["A", "B"], [[Cell('1, "x"', 1.0), Cell(text, text)]]) for text in "bc")
    picture = Picture("name-p", render(lambda axes: axes, name="p"), "caption", "alt")
    paths = figures.write_drawn(Drawn([picture], [first, second]), "name", folder=tmp_path / "new" / "out")
    assert [path.name for path in paths] == ["name-p.png", "name-p.pdf", "name-1.csv", "name-2.csv"]
    with paths[2].open(newline="") as file:
        assert list(csv.reader(file)) == [["A", "B"], ['1, "x"', "b"]]


def test_a_folder_that_cannot_be_made_is_named(place, capsys):
    (place / "taken").write_text("a file")
    assert figures.main("gaussian_pictures", ["--output", "taken"]) == 2
    assert "taken cannot be made" in capsys.readouterr().err


def test_help_names_the_stages(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        figures.main("forces", ["--help"])
    said = capsys.readouterr().out
    assert "Drawn from forces_mnist" in said
    assert sys.argv[0] not in said
