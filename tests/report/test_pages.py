"""What holds for every page and every figure, drawn from made-up records of each kind."""

import dataclasses
import re
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report import catalogue, pages, rendering
from diffstab.report.outline import read_page
from diffstab.report.page import write_report
from diffstab.report.paper.figures import named_figures
from diffstab.report.runs import Runs, kind_of
from diffstab.report.special.circle import field_pictures
from diffstab.report.words import WORDS
from tests.references.force_records import write_force_records
from tests.references.hierarchy_records import hierarchy_records
from tests.references.plateau_records import write_plateau_records
from tests.references.sphere_curves import sphere_records

KINDS = ("images", "sphere", "plateau", "forces", "hierarchy", "sandpile")


@pytest.fixture(scope="module")
def folders(make_records, make_folder, tmp_path_factory):
    """A results folder of each kind, the last one of an experiment that no page knows."""
    root = tmp_path_factory.mktemp("kinds")
    images = make_records(sizes=(32, 128), seeds=(0, 1, 2), datasets=("mnist",))
    piles = pd.DataFrame({"kind": "sandpile", "n_train": np.repeat([10, 20], 6), "seed": [0, 1, 2] * 4})
    piles = piles.assign(method=["dry", "wet"] * 6, slope=np.linspace(1, 2, 12), dataset="beach")
    return {
        "images": make_folder(root / "images", images, examples=6, config="n_train: [32, 128]\n"),
        "sphere": make_folder(root / "sphere", sphere_records(dimensions=(2, 3))),
        "plateau": write_plateau_records(root / "plateau", seeds=(0, 1), nets=["weights", "shrinking"]),
        "forces": write_force_records(root / "forces"),
        "hierarchy": make_folder(root / "hierarchy", hierarchy_records(moves=True)),
        "sandpile": make_folder(root / "sandpile", piles),
    }


@pytest.fixture(autouse=True)
def only_svg(monkeypatch):
    """PNG and PDF of a figure take most of the time, and differ from its SVG in nothing that is tested here."""
    save = rendering._saved
    monkeypatch.setattr(rendering, "_saved", lambda *args: save(*args) if args[1] == "svg" else b"\x89PNG")


def runs_of(folder):
    return pages.read_runs([folder])


@pytest.fixture(scope="module")
def seen(folders):
    """The pages, the pictures of all figures by kind and name, and the figures of matplotlib behind them."""
    drawn, shown = [], {}

    def kept(figure):
        figure.draw_without_rendering()
        drawn.append((f"figure {len(drawn)}", figure))
        return rendering.Rendered(b"", b"", "<svg></svg>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "render_figure", kept)
        patch.setattr(catalogue, "render_figure", kept)
        for kind, folder in folders.items():
            runs = runs_of(folder)
            found = pages.page_of(kind).figures
            shown |= {(kind, name): figure.pictures(runs) for name, figure in found.items()}
    return shown, drawn


def test_every_figure_of_every_page_is_drawn_from_records_of_its_kind(seen):
    shown, _ = seen
    assert {kind for kind, _ in shown} == set(KINDS)
    for (kind, name), pictures in shown.items():
        assert pictures, (kind, name)
        for picture in pictures:
            assert picture.caption.endswith(".")
            assert len(picture.alt) > 40
            assert "nan" not in f"{picture.caption} {picture.alt}"
            assert re.fullmatch(r"[\w-]+", picture.stem, re.ASCII)


def test_every_plot_has_labels_a_legend_for_its_colours_and_no_text_outside(seen):
    _, drawn = seen
    for name, figure in drawn:
        renderer = figure.canvas.get_renderer()
        edge = figure.bbox
        for ax in figure.axes:
            if not ax.get_visible() or not ax.axison or ax.images:
                continue
            is_map = ax.name == "mollweide" or ax.get_aspect() == 1
            assert is_map or (ax.get_xlabel() and ax.get_ylabel()), name
            colours = {line.get_color() for line in ax.lines if (line.get_gid() or "").startswith("hover")}
            assert len(colours) < 2 or figure.legends, name
        # Labels of ticks beyond the limits exist, but are not drawn.
        ticks = {text for ax in figure.axes for text in (*ax.get_xticklabels(), *ax.get_yticklabels())}
        for text in (
            set(figure.findobj(lambda one: hasattr(one, "get_text") and one.get_text().strip())) - ticks
        ):
            if text.get_visible() and (text.axes is None or text.axes.get_visible()):
                box = text.get_window_extent(renderer)
                assert edge.x0 - 2 <= box.x0 <= box.x1 <= edge.x1 + 2, (name, text.get_text())
                assert edge.y0 - 2 <= box.y0 <= box.y1 <= edge.y1 + 2, (name, text.get_text())


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_begins_with_question_words_variation_answer_and_one_figure(kind, folders):
    html = write_report(folders[kind]).read_text()
    heads = re.findall(r"<h1>(.*?)</h1>|<p class=\"subtitle\">(.*?)</p>", html)
    assert heads[0][0] != folders[kind].name
    assert heads[1][1].endswith("?")
    short = html[html.index('id="short"') : html.index("</section>")]
    places = [short.index(part) for part in ('class="words"', ">Varied<", ">Answer<", "<figure")]
    assert places == sorted(places)
    assert re.search(r"\d", short[places[2] : places[3]])
    assert short.count("<figure") == 1
    assert not re.search(r">\s*nan\b", html)


def test_a_page_without_a_file_answers_for_each_line_of_its_figure(folders):
    runs = runs_of(folders["sandpile"])
    said = pages.page_of("sandpile").call("answer", runs)
    last = runs.frame[runs.frame["n_train"] == 20].groupby("method")["slope"].mean()
    dry, wet = re.fullmatch(
        r"At n = 20 the mean slope is ([\d.]+) \[.*\] for dry and ([\d.]+) \[.*\] for wet\.", said
    ).groups()
    assert (float(dry), float(wet)) == pytest.approx((last["dry"], last["wet"]), abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_defined_and_symbols_mean_one_thing(kind, folders):
    runs = runs_of(folders[kind])
    page = pages.page_of(kind)
    assert page.shown_words(runs)
    for chapter in page.chapters:
        assert set(chapter.words) <= set(WORDS)
    assert set(page.words) <= set(WORDS)


def test_a_figure_that_needs_no_run_reads_none():
    assert [picture.stem for picture in field_pictures(Runs("", pd.DataFrame()))] == [
        "fields-d2",
        "fields-d3",
    ]


def test_a_figure_is_added_by_a_few_lines_in_a_new_file(tmp_path, monkeypatch, folders, capsys):
    """The file lies beside the others; nothing else is changed."""
    (tmp_path / "more.yaml").write_text(
        textwrap.dedent("""
        kind: images
        figures:
          steps_vs_error:
            title: Steps against the test error
            plot: {x: test_error, y: [steps], facets: [dataset], scales: [linear, linear]}
            layers: [[every, markers]]
        """)
    )
    monkeypatch.setattr(pages, "__path__", [*pages.__path__, str(tmp_path)])
    pages._pages.cache_clear()
    try:
        from diffstab.paper.figures import main

        assert main(["--list"]) == 0
        assert "steps_vs_error" in capsys.readouterr().out
        to = tmp_path / "new.png"
        assert main(["steps_vs_error", str(folders["images"]), "--output", str(to)]) == 0
        assert to.read_bytes().startswith(b"\x89PNG")
        assert "steps_vs_error" in pages.page_of("images").figures
        assert pages.page_of("images").topic
    finally:
        pages._pages.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers: [[every, pencils]]", "name must be one of markers, .* got 'pencils'"),
        ("layers: [[mode, markers]]", "name must be one of mean, .* got 'mode'"),
        ("layers: [[mean, line, {size: 3}]]", "setting must be one of statistic, .* got size"),
    ],
)
def test_a_page_that_names_what_there_is_not_is_refused(text, message, tmp_path):
    path = tmp_path / "page.yaml"
    path.write_text(
        f"kind: images\nfigures:\n  x:\n    title: t\n    plot: {{x: n_train, y: [R]}}\n    {text}\n"
    )
    with pytest.raises(ArgumentError, match=message):
        read_page(path, pages)


def test_a_function_that_there_is_not_is_refused(tmp_path):
    path = tmp_path / "page.yaml"
    path.write_text("kind: images\nfigures:\n  x: {title: t, draw: special.examples.nothing}\n")
    with pytest.raises(ArgumentError, match=r"function must be one of diffstab\.report\.special\.examples"):
        read_page(path, pages)


def test_the_kind_is_that_of_the_records():
    assert kind_of(pd.DataFrame({"kind": ["forces", "forces"]})) == "forces"
    assert kind_of(pd.DataFrame({"dimension": [3]})) == "sphere"
    assert kind_of(pd.DataFrame({"dataset": ["mnist"]})) == "images"
    with pytest.raises(ResultsError, match=r"several experiments \(forces, plateau\)"):
        kind_of(pd.DataFrame({"kind": ["forces", "plateau"]}))


def test_folders_of_several_kinds_share_no_figure(folders):
    with pytest.raises(ResultsError, match="The folders hold records of several experiments"):
        named_figures()["overview"].draw_from([folders["images"], folders["plateau"]])


def test_pictures_of_single_runs_are_named_by_their_files(folders):
    records = runs_of(folders["images"]).frame
    found = pages.run_pictures("images", records, folders["images"])
    assert set(found) == {"neurons", "deformations"}
    assert pages.run_pictures("sandpile", records, Path()) == {}


def test_no_two_pages_have_a_figure_of_one_name(monkeypatch):
    first, second = pages.page_of("images"), pages.page_of("sphere")
    clash = dataclasses.replace(second, figures={**second.figures, "overview": first.figures["overview"]})
    monkeypatch.setattr(pages, "_pages", lambda: {"images": first, "sphere": clash})
    with pytest.raises(
        ArgumentError, match="Figure overview must stand on one page, got the pages of images and"
    ):
        pages.figures()
