"""What the README and the pages of docs/ name exists."""

import re

import pytest

from tests.docs.pages import BLOCKS, ROOT, TEXTS

CONVENTIONS = TEXTS["docs/conventions.md"]
API = "".join(text for page, text in TEXTS.items() if page.startswith("docs/api/"))
PACKAGES = [
    ".".join(path.parent.relative_to(ROOT).parts)
    for top in ("diffstab", "datamodules")
    for path in sorted((ROOT / top).rglob("__init__.py"))
    if re.search(r"^__all__ = \[", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("page", TEXTS)
def test_what_a_page_names_exists(page):
    text = TEXTS[page]
    links = re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)", text)
    for target, anchor in links:
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
    for name in set(re.findall(r"configs/[\w/]+\.yaml", text)):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("page", TEXTS)
def test_numbers_that_a_command_fills_in_stand_between_marks(page):
    marks = re.findall(
        r"<!-- (numbers \w+|claims \w+|zoo [^\n]+?|end) -->", re.sub(r"`<!--.*?-->`", "", TEXTS[page])
    )
    assert [mark == "end" for mark in marks] == [False, True] * (len(marks) // 2)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", CONVENTIONS))))
def test_every_convention_names_a_test_that_exists(name):
    path, test = name.split("::")
    assert f"def {test}(" in (ROOT / path).read_text()


def test_words_of_the_readme_that_a_newcomer_cannot_know_are_in_the_glossary():
    glossary = TEXTS["docs/glossary.md"]
    for word in (
        "Diffeomorphism",
        "R, relative",
        "Feature regime",
        "NTK",
        "α-trick",
        "Atom",
        "Plateau",
        "gap",
        "Seed",
    ):
        assert re.search(rf"\*\*{word}", glossary), word


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_in_the_reference(package):
    assert re.search(rf"^::: {re.escape(package)}$", API, re.MULTILINE)


def test_every_block_says_what_it_is():
    assert {block.language for block in BLOCKS} <= {"python", "yaml", "sh", "text"}
