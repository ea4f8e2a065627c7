"""The page as readers meet it: in a browser, on a phone, on paper, by the keyboard, without a network."""

import math
import re

import pytest

from diffstab.report.document import BADGES, Document, Section, Table, TableCell
from diffstab.report.page import chapter_section
from diffstab.report.pages import page_of
from diffstab.report.runs import Runs
from diffstab.report.tables import tidy_records

pytestmark = pytest.mark.browser

PHONE, DESK, PAPER = 390, 1280, 673
"""Widths in pixels; that of paper is of A4 between its margins."""
STATEMENT = (
    "The predictor of the feature regime is less smooth along deformations than the lazy one, at every n."
)
LOOK = """
const box = (element) => element.getBoundingClientRect();
found.inner = innerWidth;
found.overflow = document.documentElement.scrollWidth - innerWidth;
found.figures = [...document.querySelectorAll("figure")].map((figure) => {
  const shown = figure.querySelector("img, svg"), size = box(shown);
  const alt = shown.alt || figure.querySelector("[role=img]")?.getAttribute("aria-label") || "";
  return { width: size.width, height: size.height, pixels: shown.naturalWidth ?? 1, alt,
           plate: box(figure.querySelector(".plate")).width, wide: figure.classList.contains("wide") };
});
found.beyond = [...document.querySelectorAll("body *")].filter((element) => box(element).right > innerWidth + 1
  && !element.closest(".plate, .scroll, pre, nav ul")).map((element) => element.tagName + "." + element.className);
found.tables = Math.max(...[...document.querySelectorAll("table")].map((table) => box(table).right));
found.unlabelled = [...document.querySelectorAll("img, [role=img]")]
  .filter((element) => !(element.alt || element.getAttribute("aria-label"))).length;
found.letters = [...document.querySelectorAll(".chart")].map((chart) => {
  const svg = chart.querySelector("svg");
  return 10 * box(svg).width / svg.viewBox.baseVal.width;
});
"""
SORT = """
const table = document.querySelector("table"), body = table.tBodies[0];
const column = (index) => [...body.rows].map((row) => row.cells[index].dataset.sort);
found.sorted = [...table.tHead.rows[0].cells].map((heading, index) => {
  const button = heading.querySelector("button");
  button.click();
  const up = column(index), said = heading.getAttribute("aria-sort");
  button.click();
  return { up, said, down: column(index), after: heading.getAttribute("aria-sort") };
});
found.headings = [...table.tHead.rows[0].cells].map((heading) => heading.textContent);
"""
HOVER = """
const chart = document.querySelector(".chart"), points = [...chart.querySelectorAll(".point")];
const tip = document.getElementById("tip");
const told = () => tip.hidden ? null : tip.textContent;
const press = (key) => { chart.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); return told(); };
chart.scrollIntoView({ behavior: "instant", block: "center" });
const place = points[0].getBoundingClientRect();
const at = { clientX: place.left + place.width / 2, clientY: place.top + place.height / 2, bubbles: true };
found.points = points.map((point) => point.dataset.hover);
chart.dispatchEvent(new PointerEvent("pointermove", { ...at, pointerType: "mouse" }));
found.hover = told();
const size = tip.getBoundingClientRect();
found.inside = size.left >= 0 && size.right <= innerWidth && size.top >= 0 && size.bottom <= innerHeight;
chart.dispatchEvent(new PointerEvent("pointerleave", { pointerType: "mouse" }));
found.left = told();
chart.dispatchEvent(new PointerEvent("pointerdown", { ...at, pointerType: "touch" }));
found.tap = told();
chart.focus();
found.focused = document.activeElement === chart;
found.keys = ["Home", "ArrowRight", "ArrowLeft", "ArrowUp", "End", "ArrowDown", "Escape"].map(press);
chart.blur();
found.blurred = told();
"""
BADGE = """
found.badges = [...document.querySelectorAll(".badge")].map((badge) => {
  const style = getComputedStyle(badge);
  return { text: badge.textContent.trim().split(/\\s+/), ink: style.color, ground: style.backgroundColor,
           border: style.borderTopStyle };
});
found.linked = [...document.querySelectorAll("td a")].every((link) => document.querySelector(link.hash));
"""


def verdicts_table():
    numbers = (0.25, -3.0, math.nan, 12.5, 7.0)
    lines = [
        [
            TableCell(verdict, verdict, badge=verdict, link="fig-one"),
            TableCell(f"{number:g}", number),
            TableCell(STATEMENT, STATEMENT),
        ]
        for verdict, number in zip(BADGES, numbers, strict=True)
    ]
    return Table("Claims", ["Verdict", "Number", "Claim"], lines)


@pytest.fixture(scope="module")
def html(make_records):
    """A page with everything that pages have: verdicts, charts, wide charts, images, tables, facts, a source."""
    sets = ("mnist", "fashion_mnist", "cifar10-jpeg")
    frame = tidy_records(make_records(sizes=(32, 128), seeds=(0, 1, 2), datasets=sets))
    one = frame[frame["dataset"] == "mnist"].assign(effective_atoms=7.5, stable_rank=3.25, dead_share=0.5)
    page = page_of("images")
    chapters = {one.title: one for one in page.chapters}
    parts = [
        Section("Claims", [STATEMENT], tables=[verdicts_table()]),
        Section(
            "Wide", pictures=page.figures["test_error_vs_n"].pictures(Runs("images", frame)), anchor="fig-one"
        ),
        *(
            chapter_section(page, chapters[title], Runs("images", one))
            for title in ("Stability", "Differences on the same draw", "Neurons before and after training")
        ),
        Section("Facts", facts=[("Commits", "0123456789abcdef" * 8)], source="key: " + "value " * 60),
    ]
    notes = ["A name of many letters without a break: " + "x" * 120]
    return Document("A page <b>of</b> everything", "subtitle", "all", parts, notes).html()


@pytest.fixture(scope="module")
def desk(browser, html):
    return browser.probe(html, LOOK + SORT + HOVER + BADGE, width=DESK)


@pytest.fixture(scope="module")
def phone(browser, html):
    return browser.probe(html, LOOK + HOVER, width=PHONE, height=800)


@pytest.mark.parametrize("where", ["desk", "phone"])
def test_nothing_is_wrong_on_the_console(where, request):
    probed = request.getfixturevalue(where)
    assert "error" not in probed.found
    assert probed.found["heard"] == []
    assert probed.console == []


def test_what_goes_wrong_would_be_heard(browser, html):
    wrong = html.replace(
        "</main>", '<img src="https://example.org/x.png" alt="x"><script>lost()</script></main>'
    )
    probed = browser.probe(wrong, LOOK)
    assert any("lost is not defined" in text for text in probed.found["heard"])
    assert "img-src" in probed.found["heard"]
    assert len(probed.console) >= 2


@pytest.mark.parametrize("where", ["desk", "phone"])
def test_every_figure_is_visible_and_has_an_alternative_text(where, request):
    found = request.getfixturevalue(where).found
    assert len(found["figures"]) == 4
    for figure in found["figures"]:
        assert figure["width"] > 250
        assert figure["height"] > 100
        assert figure["pixels"] > 0
        assert len(figure["alt"]) > 30
    assert found["unlabelled"] == 0


def test_a_phone_scrolls_wide_figures_and_not_the_page(phone):
    assert phone.found["inner"] == PHONE
    assert phone.found["beyond"] == []
    assert phone.found["overflow"] <= 0
    assert all(figure["plate"] <= PHONE for figure in phone.found["figures"])
    assert any(figure["wide"] and figure["width"] > 2 * PHONE for figure in phone.found["figures"])


def test_a_desk_scrolls_nothing_sideways(desk):
    assert desk.found["tables"] <= DESK
    assert desk.found["overflow"] <= 0
    assert all(figure["width"] <= figure["plate"] for figure in desk.found["figures"])


@pytest.mark.parametrize("where", ["desk", "phone"])
def test_letters_of_charts_can_be_read(where, request):
    # Ten points when drawn; in pixels of the screen.
    assert min(request.getfixturevalue(where).found["letters"]) > 9


def test_tables_sort_both_ways_with_empty_values_last(desk):
    verdict, number, _ = desk.found["sorted"]
    assert verdict["up"] == sorted(BADGES)
    assert verdict["down"] == sorted(BADGES, reverse=True)
    assert number["up"] == ["-3.0", "0.25", "7.0", "12.5", ""]
    assert number["down"] == ["12.5", "7.0", "0.25", "-3.0", ""]
    assert {(one["said"], one["after"]) for one in desk.found["sorted"]} == {("ascending", "descending")}
    assert desk.found["headings"] == ["Verdict", "Number", "Claim"]


@pytest.mark.parametrize("where", ["desk", "phone"])
def test_a_point_tells_its_value_to_pointer_finger_and_keys(where, request):
    found = request.getfixturevalue(where).found
    points = found["points"]
    assert re.fullmatch(r"feature, n = 32: .* %.*, 3 draws", points[0])
    assert found["hover"] == found["tap"] == points[0]
    assert found["inside"]
    assert found["left"] is None
    assert found["focused"]
    assert found["keys"] == [points[0], points[1], points[0], points[0], points[-1], points[-1], None]
    assert found["blurred"] is None


def test_verdicts_differ_by_sign_word_and_border_and_can_be_read(desk):
    badges = desk.found["badges"]
    assert {(badge["text"][0], " ".join(badge["text"][1:])) for badge in badges} == {
        (sign, verdict) for verdict, sign in BADGES.items()
    }
    assert len({badge["border"] for badge in badges}) == len(BADGES)
    assert all(contrast_of(badge) >= 4.5 for badge in badges)
    assert desk.found["linked"]


def contrast_of(badge):
    from tests.references.colour_vision import contrast

    colours = [
        [int(part) / 255 for part in re.findall(r"\d+", badge[name])[:3]] for name in ("ink", "ground")
    ]
    return contrast(*colours)


def test_the_page_prints(browser, html):
    source, target = browser.folder / "printed.html", browser.folder / "printed.pdf"
    source.write_text(html, encoding="utf-8")
    browser.run(source, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12


def test_wide_tables_and_figures_fit_on_paper(browser, html):
    # A frame cannot be told to print: the rules of paper are made those of the screen.
    printed = html.replace("@media screen", "@media speech").replace("@media print", "@media all")
    found = browser.probe(printed, LOOK, width=PAPER).found
    assert found["inner"] == PAPER
    assert found["overflow"] <= 0
    assert found["tables"] <= PAPER
    assert all(figure["width"] <= PAPER for figure in found["figures"])


def test_figures_without_charts_make_a_page_too(browser):
    parts = [Section("Tables", tables=[Table("None", ["A"], [])])]
    html = Document("Empty", "nothing", "none", parts).html()
    probed = browser.probe(html, LOOK)
    assert (probed.found["figures"], probed.found["heard"], probed.console) == ([], [], [])
