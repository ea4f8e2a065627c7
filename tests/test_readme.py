"""The README and the pages of docs/ tell the truth."""

import re
from pathlib import Path

import pytest
import yaml

from diffstab.results.config_files import merged, read_config
from diffstab.shipped import CONFIGS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in PAGES}
CONVENTIONS = TEXTS["docs/conventions.md"]
EXAMPLE = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
EXAMPLES = [
    pytest.param(*example, id=f"{page}, {number}")
    for page, text in TEXTS.items()
    for number, example in enumerate(EXAMPLE.findall(text), start=1)
]
NUMBER = re.compile(r"-?\d[\d.]*(?:e[-+]?\d+)?%?")


def shape(text):
    """A text with each number replaced: what is printed on another machine differs by rounding."""
    return NUMBER.sub("#", text)


@pytest.mark.filterwarnings("default")  # a user's own script does not raise on warnings either
@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_an_example_runs_alone_and_prints_what_stands_below_it(code, shown, place, capsys):
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    assert shape(capsys.readouterr().out) == shape(shown)


def test_the_first_example_shows_plausible_numbers(place, capsys):
    code, _ = EXAMPLE.findall(TEXTS["README.md"])[0]
    exec(compile(code, "example", "exec"), {})
    for line in capsys.readouterr().out.splitlines():
        value, low, high = (float(number) for number in NUMBER.findall(line))
        assert 0 < low <= value <= high < 10


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
    marks = re.findall(r"<!-- (numbers \w+|claims \w+|end) -->", re.sub(r"`<!--.*?-->`", "", TEXTS[page]))
    assert [mark == "end" for mark in marks] == [False, True] * (len(marks) // 2)


def test_yaml_of_the_pages_is_read():
    for page, text in TEXTS.items():
        for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL):
            content = yaml.safe_load(block)
            assert isinstance(content, dict | list), page
            if isinstance(content, dict) and (parent := content.pop("include", None)):
                assert merged(read_config(CONFIGS / parent), content), page


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
