"""`diffstab figure` and the scripts of `reports/`: what they draw, where they write, and what they refuse."""

import csv
import runpy
from pathlib import Path

import pytest

from diffstab import cli
from diffstab.errors import ArgumentError, ResultsError
from diffstab.paper import figures
from diffstab.report.document import Picture, Table, TableCell
from diffstab.report.paper.figures import FIGURES, FigureFiles, named_figures
from diffstab.report.rendering import render

SCRIPTS = sorted((Path(__file__).parents[2] / "reports").glob("*.py"))


def test_every_figure_of_the_sources_has_a_script():
    assert [path.stem for path in SCRIPTS] == sorted(FIGURES)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_draws_its_own_figure(path, monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "main", lambda args: asked.append(args) or 0)
    monkeypatch.setattr("sys.argv", ["script", "run", "--output", "x.png"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert (asked, stop.value.code) == ([["figure", path.stem, "run", "--output", "x.png"]], 0)
    assert f"diffstab figure {path.stem}" in path.read_text()


def test_all_figures_are_listed_with_their_titles(capsys):
    assert cli.main(["figure", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(named_figures())
    assert "Test error, D and R at a glance (Petrini et al. 2022)" in lines[0]


def test_a_figure_that_needs_no_run_is_written_as_png_and_pdf(place, capsys):
    assert figures.main(["gaussian_pictures"]) == 0
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
    with pytest.raises(ResultsError, match="forces needs records of forces_mnist"):
        figures.main(["forces", "--full", "--root", "runs"])
    assert asked == [(("forces_mnist",), "runs", True)]


def test_given_folders_are_drawn_from_and_nothing_is_run(place, capsys):
    assert cli.main(["figure", "forces", str(place / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_a_figure_of_a_page_needs_folders():
    with pytest.raises(
        ArgumentError, match="RESULTS must name the folders that spectra is drawn from, got none"
    ):
        figures.main(["spectra"])


def files():
    tables = [Table("t", ["A", "B"], [[TableCell('1, "x"', 1.0), TableCell(text, text)]]) for text in "bc"]
    picture = Picture("name-p", render(lambda axes: axes), "caption", "alt")
    return FigureFiles([picture], tables)


def test_tables_are_written_as_comma_separated_values(tmp_path):
    paths = figures.write_drawn(files(), "name", to=tmp_path / "new" / "out")
    assert [path.name for path in paths] == ["name-p.png", "name-p.pdf", "name-1.csv", "name-2.csv"]
    with paths[2].open(newline="") as file:
        assert list(csv.reader(file)) == [["A", "B"], ['1, "x"', "b"]]


@pytest.mark.parametrize(
    ("kind", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b'<svg xmlns="http')]
)
def test_a_file_is_written_as_its_ending_says(kind, head, tmp_path):
    (path,) = figures.write_drawn(files(), "name", to=tmp_path / f"one.{kind}")
    assert path == tmp_path / f"one.{kind}"
    assert path.read_bytes().startswith(head)
    found = figures.write_drawn(files(), "name", to=tmp_path / "two.csv")
    assert [path.name for path in found] == ["two-1.csv", "two-2.csv"]
    with pytest.raises(ResultsError, match=f"name has no picture, as one.{kind} asks for one"):
        figures.write_drawn(FigureFiles([]), "name", to=tmp_path / f"one.{kind}")


def test_a_folder_that_cannot_be_made_is_named(place):
    (place / "taken").write_text("a file")
    with pytest.raises(ResultsError, match="taken cannot be made"):
        figures.main(["gaussian_pictures", "--output", "taken"])
