"""The judge: missing and damaged stages, doubt, the same verdict on the page of a folder."""

import pandas as pd
import pytest

from diffstab.report.claims.claim import Claim
from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.judging import Judgement, answer_text, claims_sections, judge, judge_records
from diffstab.report.claims.rules import read_rule
from diffstab.report.plateaus import prepare
from diffstab.results import read_records
from tests.references.plateau_records import write_plateau_records


def claim(rule="above 0", **fields):
    given = {
        "id": "one",
        "source": "a",
        "place": "b",
        "statement": "c.",
        "kind": "images",
        "stage": ("one", "two"),
    }
    given |= {"statistic": "mean", "value": "D", "method": "feature", "rule": read_rule(rule)}
    return Claim(**(given | fields))


@pytest.fixture
def folder(make_records, make_folder, tmp_path):
    return make_folder(tmp_path / "run", make_records(sizes=(8,)))


def test_without_any_stage_only_what_is_computed_on_the_spot_is_tested():
    found = judge({}, claims=[one for one in sources_claims() if one.stage or one.untested])
    assert {one.verdict for one in found} == {"not tested"}
    assert all(one.detail for one in found)


@pytest.mark.parametrize(
    ("rule", "part", "whole"), [("above 0", "undecided", "holds"), ("below 0", "does not", "does not")]
)
def test_a_claim_of_several_stages_holds_only_if_all_were_run(rule, part, whole, folder):
    (found,) = judge({"one": folder}, claims=[claim(rule)])
    assert found.verdict == part
    assert ("The stage two was not run." in found.detail) == (part == "undecided")
    (found,) = judge({"one": folder, "two": folder}, claims=[claim(rule)])
    assert found.verdict == whole


def test_a_damaged_stage_is_said_and_the_other_claims_are_judged(folder, make_folder, make_records, tmp_path):
    damaged = make_folder(tmp_path / "damaged", make_records(sizes=(8,), seeds=(0,)))
    next((damaged / "records").iterdir()).write_bytes(b"not a record")
    one, other = judge({"one": damaged, "two": folder}, claims=[claim(stage=("one",)), claim(stage=("two",))])
    assert one.verdict == "not tested"
    assert "damaged" in one.detail
    assert other.verdict == "holds"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"where": {"dataset": "mnist"}}, "No record has dataset = mnist."),
        ({"where": {"dimension": 3}}, "The records have no column dimension."),
        ({"value": "D / n_colours"}, "The records have no column n_colours."),
        ({"method": "lazy_svc"}, "No record has D of lazy_svc."),
    ],
)
def test_what_records_lack_is_said(fields, detail, folder):
    (found,) = judge({"one": folder}, claims=[claim(stage=("one",), **fields)])
    assert (found.verdict, found.detail) == ("not tested", detail)


def at_sizes(make_records, make_folder, path, **means):
    """Records of one method at n = 8, 16 and 32 with the given D, apart by 0.02 between draws."""
    records = make_records(sizes=(8, 16, 32), methods=("feature",))
    records["D"] = (records["seed"] - 2) / 100 + records["n_train"].map(lambda n: means[f"n{n}"])
    return make_folder(path, records)


def test_sizes_are_pooled_and_told_beside(make_folder, make_records, tmp_path):
    folder = at_sizes(make_records, make_folder, tmp_path / "sizes", n8=1.0, n16=0.0, n32=3.0)
    (found,) = judge({"one": folder}, claims=[claim(stage=("one",), by="n_train")])
    assert found.verdict == "holds"
    # Weights sqrt(n).
    expected = (8**0.5 + 3 * 32**0.5) / (8**0.5 + 16**0.5 + 32**0.5)
    assert found.value == pytest.approx(expected)
    assert found.measured.endswith("at n = 8 to 32")
    assert found.draws == "5 draws"
    assert "n = 16: " in found.detail


def test_sizes_that_contradict_each_other_refute_a_claim(make_folder, make_records, tmp_path):
    folder = at_sizes(make_records, make_folder, tmp_path / "sizes", n8=1.0, n16=-1.0, n32=3.0)
    (found,) = judge({"one": folder}, claims=[claim(stage=("one",), by="n_train")])
    assert found.verdict == "does not"


def missed(row):
    return row | {"loss": row["loss"] * (1.2 if row["width"] == 8 else 1.0)}


def test_a_loss_that_rises_is_judged_alike_on_both_pages(tmp_path):
    # A rise of 20 % at the widest net is a minimum that the restarts missed.
    folder = write_plateau_records(tmp_path / "run", cone=False, change=missed)
    claims = [one for one in sources_claims() if one.id == "falling"]
    (paper,) = judge({"plateau_teacher": folder}, claims=claims)
    page = {one.claim.id: one for one in judge_records(prepare(read_records(folder), {}), "plateau")}
    assert page["falling"].verdict == paper.verdict == "undecided"
    assert page["falling"].value == paper.value == pytest.approx(20)


def test_the_page_of_a_folder_shows_what_fits_its_records(tmp_path):
    def known(row):
        return row | {"known_width": 4, "known_cost": 2.0}

    def names(dataset, **options):
        folder = write_plateau_records(tmp_path / dataset, dataset=dataset, cone=False, **options)
        return {one.claim.id for one in judge_records(prepare(read_records(folder), {}), "plateau")}

    general = {"falling", "start-latest"}
    assert names("digits") == general
    assert names("teacher") == general | {"teacher-trials"}
    assert names("complete_bipartite", change=known) == general | {"start-bipartite"}
    assert names("one_hot", change=known, config={"interpolation": True}) == general | {
        "start-onehot",
        "norm-onehot",
        "rank-onehot",
    }
    assert names("scalar") == general | {"start-scalar"}
    assert names("mnist", classes=True) == general | {"start-mnist-shallow"}


def test_a_part_of_a_page_lists_them(make_records):
    (section,) = claims_sections(judge_records(make_records(datasets=("mnist",)), "images"))
    (table,) = section.tables
    assert {len(row) for row in table.rows} == {len(table.headers)}
    assert "holds" in {row[0].badge for row in table.rows}
    assert table.rows[0][1].text.startswith("MNIST: the lazy (kernel) predictor")
    assert (
        claims_sections(judge_records(pd.DataFrame({"dataset": ["digits"], "n_train": [1]}), "images")) == []
    )


@pytest.mark.parametrize(
    ("verdict", "begins"),
    [
        ("holds", "Sand flows: the speed"),
        ("does not", "Sand stays: "),
        ("undecided", "It cannot be told whether sand flows: "),
    ],
)
def test_the_answer_of_a_page_is_what_the_judge_says(verdict, begins):
    words = {"holds": "sand flows", "fails": "sand stays", "number": "the speed"}
    doubt = "One pile was wet" if verdict == "undecided" else ""
    one = Judgement(claim(), verdict, "2 [1, 3]", 2.0, "> 0", "5 draws", "more", doubt)
    said = answer_text({"one": words, "another": {}}, [one, one._replace(claim=claim(id="third"))])
    assert said.startswith(begins)
    assert "the speed is 2 [1, 3], 5 draws" in said
    assert said.endswith("; one pile was wet." if doubt else "draws.")
    assert answer_text({"one": words}, []) == "Nothing is recorded that tells."
