"""The page of claims: what stands in it, what is said at its top, what is escaped."""

import re
from typing import NamedTuple

import pytest

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.listing import read_verdicts
from diffstab.report.claims.rules import read_rule
from diffstab.report.document import Picture
from diffstab.report.paper.figures import FigureFiles
from diffstab.report.paper.page import StageRun, cautions, read_provenance, write_paper
from diffstab.report.rendering import render


def claim(name, statement, rule="", value="D", statistic="each", **fields):
    given = {"source": "Source A", "place": f"page {len(name)}", "kind": "images", "stage": ("images_mnist",)}
    given |= {"statistic": statistic, "value": value, "method": "feature"}
    return Claim(id=name, statement=statement, rule=read_rule(rule) if rule else None, **(given | fields))


CLAIMS = (
    claim("first", "A holds.", "at least 0", figure="curve"),
    claim("second", "B <b>fails</b>.", "at least 100", figure="curve", note="Numbers of B."),
    claim("third", "C is open.", "above 0", value="D - D", statistic="mean"),
    claim("fourth", "D is not tested.", untested="Needs a telescope."),
)


class Curve(NamedTuple):
    """A figure of one picture, or of none that could be drawn."""

    name: str
    title: str
    source: str
    stages: tuple[str, ...] = ("images_mnist",)

    def draw(self, folders):
        if self.name == "absent":
            raise ResultsError("nothing to draw.")
        rendered = render(lambda axes: axes[0, 0].plot([0, 1], [0, 1]), size_inches=(3, 2))
        return FigureFiles([Picture("curve", rendered, "A line.", "A line that rises.")])


FIGURES = {
    "curve": Curve("curve", "A curve", "Source A, Fig. 1"),
    "absent": Curve("absent", "Another", "Source A, Fig. 2"),
}


@pytest.fixture
def stages(make_records, make_folder, tmp_path):
    folder = make_folder(tmp_path / "images_mnist", make_records(sizes=(8,), seeds=(0, 1)))
    return [
        StageRun("images_mnist", "compare", folder, 4, 4, (), "n = 8", "n = 32 to 10 000"),
        StageRun("plateau_mnist", "plateau", tmp_path / "none", 9, 0, absent="No file of images."),
        StageRun("plateau_teacher", "plateau", tmp_path / "never", 9, 0),
        StageRun("forces_mnist", "forces", tmp_path / "half", 5, 2, ["boom", "boom"]),
    ]


@pytest.fixture
def page(stages, tmp_path):
    return write_paper(tmp_path, stages, claims=CLAIMS, figures=FIGURES)


def test_the_page_and_its_figures_are_written(page, tmp_path):
    assert page == tmp_path / "report" / "index.html"
    assert (page.parent / "figures" / "curve.pdf").read_bytes().startswith(b"%PDF")


def test_every_claim_stands_in_the_table_with_its_verdict(page):
    html = page.read_text()
    table = re.search(r'<section id="claims".*?</section>', html, re.DOTALL)[0]
    assert table.count("<tr>") == 1 + len(CLAIMS)
    for name in ("holds", "does-not", "undecided", "not-tested"):
        assert table.count(f'class="badge {name}"') == 1
    assert "Of 4 claims 1 hold, 1 are undecided, 1 do not hold, 1 are not tested." in html
    assert "Of the 1 that draws decide, 1 are undecided at a false discovery rate of" in html
    assert "Source A, page 5" in table
    # The time of the runs behind the first claim: four records of nine seconds.
    assert 'data-sort="36.' in table
    assert "B &lt;b&gt;fails&lt;/b&gt;." in table


def test_the_verdicts_stand_in_a_file_beside_the_page(page):
    lines = read_verdicts(page.parent / "claims.csv")
    assert [line["verdict"] for line in lines] == ["holds", "does not", "undecided", "not tested"]


def test_a_verdict_leads_to_the_figure_and_the_rule(page):
    html = page.read_text()
    targets = re.findall(r'<a href="#([a-z_]+)"><span class="badge', html)
    assert targets == ["curve", "curve", "computed", "untested"]
    for target in targets:
        assert f'<section id="{target}"' in html
    section = re.search(r'<section id="curve".*?</section>', html, re.DOTALL)[0]
    assert "Rule: D, feature. Holds if the number of every run is at least 0;" in section
    assert "Numbers of B." in section
    assert "A line that rises." in section
    assert "Needs a telescope." in re.search(r'<section id="untested".*?</section>', html, re.DOTALL)[0]


def test_a_figure_that_cannot_be_drawn_says_why(page):
    section = re.search(r'<section id="absent".*?</section>', page.read_text(), re.DOTALL)[0]
    assert "Not drawn: nothing to draw." in section


def test_what_is_missing_is_said_at_the_top(page):
    notes = re.search(r'<aside class="notes".*?</aside>', page.read_text(), re.DOTALL)[0]
    assert "plateau_mnist was left out: No file of images." in notes
    assert "plateau_teacher was not run. Claims that need it are not tested." in notes
    assert "forces_mnist: 2 of 5 runs failed (boom)." in notes
    assert "forces_mnist: 1 of 5 runs have no record yet." in notes
    assert "images_mnist" not in notes


def test_sizes_stand_beside_those_of_the_source(page):
    runs = re.search(r'<section id="runs".*?</section>', page.read_text(), re.DOTALL)[0]
    assert "n = 8" in runs
    assert "n = 32 to 10 000" in runs
    assert "not stated" in runs
    assert "2 x86 cores" in page.read_text()


def test_a_damaged_stage_is_left_out_and_said(stages, tmp_path):
    next((stages[0].folder / "records").iterdir()).write_bytes(b"no record")
    html = write_paper(tmp_path, stages[:1], claims=CLAIMS, figures=FIGURES).read_text()
    assert "images_mnist cannot be read: " in html
    assert "is damaged" in html


def test_nothing_to_say_of_a_complete_stage(stages):
    assert cautions(stages[:1]) == []


def test_time_of_runs_trained_together_is_shared(make_folder, make_records, tmp_path):
    records = make_records(sizes=(8,), seeds=(0, 1)).drop(columns="wall_seconds")
    folder = make_folder(tmp_path / "shared", records.assign(train_seconds=18.0, runs_together=6))
    assert read_provenance(folder)["seconds"].tolist() == [3.0] * 4
