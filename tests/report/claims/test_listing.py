"""Verdicts in a file, and their numbers in documents."""

from functools import partial
from pathlib import Path

import pytest

from diffstab.errors import ResultsError
from diffstab.report.claims import listing
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.judging import Judgement
from diffstab.report.claims.listing import read_verdicts, verdicts_csv, write_marked
from diffstab.report.claims.power import power_table
from diffstab.report.claims.wording import counts_text

ROOT = Path(__file__).resolve().parents[3]


def judgement(name, verdict):
    claim = Claim(id=name, source="A", place="page 1", statement=f"{name}, as A says.")
    return Judgement(claim, verdict, "2 [1, 3]", 2.0, "> 0", "5 draws", "more")


@pytest.fixture(autouse=True)
def few_trials(monkeypatch):
    monkeypatch.setattr(listing, "power_table", partial(power_table, trials=20))


@pytest.fixture
def verdicts(tmp_path):
    path = tmp_path / "claims.csv"
    path.write_bytes(verdicts_csv([judgement("first", "holds"), judgement("second", "does not")]))
    return path


def test_a_file_of_verdicts_is_read_back(verdicts):
    first, second = read_verdicts(verdicts)
    assert (first["claim"], first["verdict"], first["value"]) == ("first", "holds", "2")
    assert second["statement"] == "second, as A says."
    assert second["source"] == "A, page 1"


def test_numbers_are_written_between_marks(verdicts, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Of <!-- claims total -->9<!-- end --> claims <!-- claims counts -->none<!-- end -->.\n"
        "<!-- claims against -->\nold\n<!-- end -->\n"
    )
    assert write_marked(page, read_verdicts(verdicts)) == 3
    assert page.read_text() == (
        "Of <!-- claims total -->2<!-- end --> claims <!-- claims counts -->1 hold, 1 do not hold<!-- end -->.\n"
        "<!-- claims against -->\n- second, as A says. (2 [1, 3])\n<!-- end -->\n"
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [("No marks.", "has no mark"), ("<!-- claims all -->1<!-- end -->", "has the mark all")],
)
def test_a_document_without_known_marks_is_refused(text, match, verdicts, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ResultsError, match=match):
        write_marked(page, read_verdicts(verdicts))
    assert page.read_text() == text


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ResultsError, match="diffstab paper"):
        read_verdicts(tmp_path / "claims.csv")


def test_counts_in_words():
    verdicts = ["holds", "holds", "undecided", "not tested"]
    assert counts_text(verdicts) == "2 hold, 1 are undecided, 1 are not tested"
    assert counts_text([*verdicts, "no effect"], certain=1) == (
        "2 hold (1 of them cannot fail), 1 find no effect, 1 are undecided, 1 are not tested"
    )


def test_the_table_of_power_is_written_between_marks(verdicts, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- claims power -->\n<!-- end -->\n")
    assert write_marked(page, read_verdicts(verdicts)) == 1
    assert "| three sizes n, 5 draws |" in page.read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/paper.md"])
def test_the_numbers_of_the_documents_are_written_by_a_command(name, verdicts, tmp_path):
    copy = tmp_path / "copy.md"
    copy.write_bytes((ROOT / name).read_bytes())
    assert write_marked(copy, read_verdicts(verdicts)) >= 1
    assert "1 hold, 1 do not hold" in copy.read_text()
