"""Claims as data: what a file may say, and how a word that is not known is refused."""

from collections import Counter

import pytest

from diffstab.errors import ArgumentError
from diffstab.report.claims.entries import read_claims, sources_claims
from diffstab.report.claims.judging import judge
from diffstab.report.claims.wording import rule_text
from diffstab.report.paper.figures import FIGURES

ENTRY = """
sources: {paper: "Somebody 2030"}
claims:
  - id: bigger
    source: paper
    place: page 1
    statement: The feature predictor has the larger G.
    kind: images
    stage: mine
    statistic: mean
    value: G
    method: feature
    rule: above 0
"""


def write(folder, text, name="somebody.yaml"):
    (folder / name).write_text(text)
    return folder


def test_all_claims_are_complete_and_their_names_unique():
    claims = sources_claims()
    assert len(claims) > 100
    assert max(Counter(claim.id for claim in claims).values()) == 1
    for claim in claims:
        assert claim.statement.endswith("."), claim.id
        assert rule_text(claim).endswith((".", ")")), claim.id
        assert claim.source, claim.id
        assert claim.place, claim.id
        assert "{" not in claim.statement + claim.id + claim.figure + "".join(claim.stage), claim.id
        assert claim.figure in {"", *FIGURES}, claim.id


@pytest.mark.parametrize(
    "claim", [one for one in sources_claims() if not one.untested], ids=lambda one: one.id
)
def test_every_rule_says_when_a_claim_holds(claim):
    assert "Holds if" in rule_text(claim)


def test_a_new_claim_is_one_entry(make_records, make_folder, tmp_path):
    (tmp_path / "said").mkdir()
    claims = read_claims(write(tmp_path / "said", ENTRY))
    folder = make_folder(tmp_path / "run", make_records(datasets=("mnist",)))
    (found,) = judge({"mine": folder}, claims=claims)
    assert found.verdict == "holds"
    # Made up as 0.5 (n / 32)^-0.2 at n = 32, 128, 512.
    assert found.value == pytest.approx(0.5 * (1 + 4**-0.2 + 16**-0.2) / 3, rel=0.05)
    assert found.draws == "15 draws"


def test_entries_share_fields_and_are_repeated(tmp_path):
    text = """
sources: {paper: "Somebody 2030"}
claims:
  - with: {source: paper, place: "page {d}", statistic: mean, where: {dimension: "{d}"}}
    for: [{d: 2, name: circle}, {d: 3, name: sphere}]
    each:
      - {id: "a-{name}", statement: "On the {name} A.", value: D, rule: above 0}
      - with: {rule: below 1}
        each:
          - {id: "b-{name}", statement: "On the {name} B.", value: R}
"""
    claims = {claim.id: claim for claim in read_claims(write(tmp_path, text))}
    assert list(claims) == ["a-circle", "b-circle", "a-sphere", "b-sphere"]
    # A word that stands alone keeps its type.
    assert claims["a-sphere"].where == {"dimension": 3}
    assert claims["b-circle"].place == "page 2"
    assert claims["b-circle"].rule.text == "below 1"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("value: G", "value: Gee", "Claim bigger of .*somebody.yaml .* column must be listed .* got Gee"),
        ("value: G", "value: G ** 2", "value must be made of columns, numbers"),
        ("value: G", "value: G +", "value must be an expression"),
        ("value: G", "valeu: G", "got valeu"),
        ("statistic: mean", "statistic: median", "statistic must be one of .*mean.* got 'median'"),
        (
            "statistic: mean",
            "statistic: {name: mean, twice: seed}",
            "statistic mean must be given once .* got twice",
        ),
        ("statistic: mean", "statistic: {name: rise}", "statistic rise must be given trace .* got trace"),
        ("rule: above 0", "rule: upon 0", "rule must be one of"),
        ("rule: above 0", "figure: curve", "have the field rule"),
        ("kind: images", "kind: pictures", "kind must be one of images"),
        ("kind: images", "sizes: some", "sizes must be one of all"),
        ("kind: images", "where: {colour: red}", "column must be listed .* got colour"),
        ("kind: images", "by: colour", "column must be listed .* got colour"),
        ("id: bigger", "each: []", "must have `with` and `for` alone beside it, got kind"),
        ("source: paper", "source: book", "Claim bigger .* source must be one of paper, got 'book'"),
        ("sources:", "source:", "somebody.yaml must hold `sources`, `claims`"),
        ("sources:", "sources: [", "somebody.yaml must be YAML"),
    ],
)
def test_a_word_that_is_not_known_is_refused(old, new, match, tmp_path):
    assert old in ENTRY
    with pytest.raises(ArgumentError, match=match):
        read_claims(write(tmp_path, ENTRY.replace(old, new)))


def test_a_name_stands_once(tmp_path):
    write(tmp_path, ENTRY, "other.yaml")
    with pytest.raises(ArgumentError, match=r"Claim bigger of .*somebody.yaml .* id must be unique"):
        read_claims(write(tmp_path, ENTRY))


@pytest.mark.parametrize(
    "further", ["margin: 0.1", "margin: -1\n    because: so", "margin: 0.1\n    because: so"]
)
def test_a_margin_needs_a_reason_and_a_side(further, tmp_path):
    rule = "rule: within 0 1" if further.endswith("0.1\n    because: so") else "rule: above 0"
    text = ENTRY.replace("rule: above 0", f"{rule}\n    {further}")
    with pytest.raises(
        ArgumentError, match="margin must be positive and stand beside `because` and a rule above"
    ):
        read_claims(write(tmp_path, text))


def test_every_margin_of_the_sources_says_why():
    held = [claim for claim in sources_claims() if claim.margin]
    assert len(held) > 20
    assert all(len(claim.because) > 20 for claim in held)
    # Whatever has two sides is held against its margin, or said to be certain, or has a band.
    open_ones = [
        one.id
        for one in sources_claims()
        if one.rule and one.rule.text in ("above 0", "above 1", "below 1") and not (one.margin or one.certain)
    ]
    assert open_ones == []
