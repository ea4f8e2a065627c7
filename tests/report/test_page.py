"""The page of a made-up results folder: complete, self-contained, harmless and written whole."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ResultsError
from diffstab.report import writing
from diffstab.report.page import write_report
from diffstab.report.pages.images import answer
from diffstab.report.provenance import cautions
from diffstab.report.rendering import file_stem
from diffstab.report.runs import Runs
from diffstab.report.special.examples import examples_picture
from diffstab.report.tables import CELL, tidy_records

CONFIG = """data:
  class_path: datamodules.Digits
  init_args:
    n_test: 100
n_train: [32, 128]
seeds: [0, 1, 2]
methods: {feature: {trainer: gradient_flow}, lazy_exact: {trainer: kernel_flow, regime: lazy}}
"""
VOID = {"meta", "link", "img", "br", "hr", "input", "use", "path"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that elements close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text.append(data)


def read(path: Path) -> tuple[str, Reader]:
    reader = Reader()
    html = path.read_text(encoding="utf-8")
    reader.feed(html)
    assert not reader.open
    return " ".join("".join(reader.text).replace("\u00a0", " ").split()), reader


@pytest.fixture(scope="module")
def folder(make_records, make_folder, tmp_path_factory):
    records = make_records(sizes=(32, 128), seeds=(0, 1, 2)).drop(index=3)
    target = tmp_path_factory.mktemp("results") / "small_run"
    make_folder(target, records, config=CONFIG, examples=8)
    runs = [{"key": str(run), "batch": run, "label": "", "coordinates": "{}"} for run in range(12)]
    pd.DataFrame(runs).to_parquet(target / "cells.parquet")
    assert write_report(target) == target / "report" / "index.html"
    return target


@pytest.fixture(scope="module")
def content(folder):
    return read(folder / "report" / "index.html")


def test_the_page_needs_no_other_file_and_no_network(folder, content):
    _, reader = content
    for tag, attributes in reader.tags:
        assert tag not in {"link", "iframe", "object", "embed"}
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
            assert base64.b64decode(attributes["src"].split(",")[1]).startswith(b"\x89PNG")
        if "href" in attributes:
            assert attributes["href"].startswith(("#", "figures/"))
    html = (folder / "report" / "index.html").read_text()
    assert not re.search(r"https?://|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_identifiers_are_unique_and_links_inside_the_page_lead_somewhere(content):
    _, reader = content
    names = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(names) == len(set(names))
    links = {
        attributes["href"][1:] for _, attributes in reader.tags if attributes.get("href", "").startswith("#")
    }
    assert links <= set(names)


def test_every_picture_has_an_alternative_text_and_its_files(folder, content):
    _, reader = content
    pictures = [
        attributes for tag, attributes in reader.tags if tag == "img" or attributes.get("role") == "img"
    ]
    texts = [attributes.get("alt") or attributes["aria-label"] for attributes in pictures]
    # Overview, examples, stability, differences, neurons.
    assert len(texts) == 5
    assert all(len(text) > 30 for text in texts)
    files = {
        attributes["href"]
        for _, attributes in reader.tags
        if attributes.get("href", "").startswith("figures/")
    }
    assert len(files) == 2 * len(texts)
    assert files == {f"figures/{path.name}" for path in (folder / "report" / "figures").iterdir()}


def test_tables_are_sortable_and_rectangular(folder):
    html = (folder / "report" / "index.html").read_text()
    tables = re.findall(r"<table.*?</table>", html, flags=re.DOTALL)
    assert len(tables) == 6
    for table in tables:
        width = table.count("<th ")
        assert table.count('<th scope="col" aria-sort="none"') == width
        rows = re.findall(r"<tr>.*?</tr>", table, flags=re.DOTALL)[1:]
        assert rows
        assert all(row.count("<td data-sort=") == width for row in rows)


def test_the_page_says_what_the_records_say(content, folder):
    text, _ = content
    assert "Feature and lazy training on Digits" in text
    assert "small_run" not in text
    assert "On Digits at n = 128 (3 draws) lazy (exact) has a lower test error than feature, by" in text
    assert "1 of 12 runs have no record yet." in text
    assert re.search(r"Digits, feature, n = 128: R is 1\.03 before training and 1\.\d+ \[.*\] after it", text)
    assert "Code0123456789ab Machine2 x86 cores Versions" in text
    assert "numpy 2.4.6, torch 2.15.0" in text
    assert "n_test: 100" in text
    assert "margin: 3" in text


def test_the_answer_speaks_of_each_data_set_and_of_one_method_alone(make_records):
    frame = tidy_records(make_records(sizes=(32,), seeds=(0, 1, 2), datasets=("digits", "mnist")))
    assert [text[:9] for text in answer(Runs("images", frame)).split(". On ")] == ["On Digits", "MNIST at "]
    alone = answer(Runs("images", frame[frame["method"] == "feature"]))
    assert re.match(
        r"On Digits the test error of feature is [\d.]+ % \[.*\] at n = 32 and the R of feature is", alone
    )
    assert answer(Runs("images", frame[CELL])) == "No run has a test error yet."


def test_examples_are_some_at_each_displacement():
    images = np.random.default_rng(0).random((9, 1, 4, 4))
    stacks = {
        "images": images,
        "deformed": images,
        "noisy": images,
        "delta_px": np.array([1.0] * 7 + [2.0] * 2),
    }
    picture = examples_picture(stacks, name="MNIST")
    assert picture.alt == "MNIST: 6 images, each as it is, deformed and noisy (δ = 1 px, δ = 2 px)."
    assert picture.wide


def test_a_second_report_of_the_same_folder_is_the_same(make_records, make_folder, tmp_path):
    records = make_records(sizes=(32,), seeds=(0, 1), methods=("feature",))
    folder = make_folder(tmp_path / "run", records[[*CELL, "R", "init_R"]])
    first, second = (write_report(folder).read_bytes() for _ in range(2))
    assert first == second
    assert {path.name for path in folder.iterdir()} == {"records", "report"}


def test_names_with_html_characters_are_harmless(make_records, make_folder, tmp_path):
    evil = "<script>alert('&\")</script>"
    records = make_records(sizes=(32,), seeds=(0, 1), datasets=("digits",)).replace(
        {"dataset": {"digits": evil}}
    )
    records = records.replace({"method": {"feature": evil}}).assign(
        hardware=evil, stop_reason=evil, versions=evil
    )
    target = make_folder(tmp_path / "<b>results", records, config=f"# {evil}\nn_train: [32]\n")
    _, reader = read(write_report(target))
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "b" not in {tag for tag, _ in reader.tags}
    assert "".join(reader.text).count(evil) > 5
    assert all(path.parent.name == "figures" for path in (target / "report").rglob("*.png"))


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[[*CELL, "test_error"]],
        lambda frame: frame[CELL],
        lambda frame: frame[frame["seed"] == 0].drop(
            columns=[c for c in frame if c.endswith(("_low", "_high"))]
        ),
        lambda frame: frame[frame["method"] == "feature"].assign(R=np.inf, started_at=None),
        lambda frame: frame[frame["method"] == "lazy_exact"].assign(test_error=np.nan, git_dirty=True),
        lambda frame: frame[CELL].assign(test_error=0.0, D=0.0, D_low=0.0, D_high=0.0),
    ],
    ids=["only test error", "only cells", "one seed", "one regime", "no test error", "zeros"],
)
def test_incomplete_records_still_make_a_page(change, make_records, make_folder, tmp_path):
    records = change(make_records(sizes=(32,), seeds=(0, 1)))
    text, _ = read(write_report(make_folder(tmp_path / "run", records)))
    assert "In short" in text
    assert "How the numbers were made" in text


def test_cautions_name_what_weakens_the_numbers(make_records):
    frame = tidy_records(make_records(sizes=(32,), seeds=(0, 1)).assign(stop_reason="max_steps"))
    assert cautions(Runs("images", frame.assign(stop_reason="margin"), recorded=4), asked=4) == []
    frame.loc[0, ["git_commit", "git_dirty", "folded_share", "R"]] = ["fedcba", True, 0.25, np.nan]
    found = cautions(Runs("images", frame, recorded=6), asked=7)
    wanted = ["3 of 7 runs have no record", "2 records left out", "4 runs used up all steps", "up to 25 %"]
    wanted += [
        "R is missing or infinite in 1 of 4 runs",
        "2 versions of the code",
        "1 run made by code with changes",
    ]
    assert len(found) == len(wanted)
    for text, words in zip(found, wanted, strict=True):
        assert words in text


def test_an_empty_folder_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ResultsError, match="diffstab compare"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_configuration_or_damaged_examples_are_refused(make_records, make_folder, tmp_path):
    records = make_records(sizes=(32,), seeds=(0,), methods=("feature",))[
        ["dataset", "n_train", "seed", "method"]
    ]
    folder = make_folder(tmp_path / "run", records, config="a: [")
    with pytest.raises(ResultsError, match=r"config\.yaml is not YAML"):
        write_report(folder)
    (folder / "config.yaml").unlink()
    (folder / "examples.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ResultsError, match=r"examples\.npz does not hold the arrays images"):
        write_report(folder)
    np.savez(folder / "examples.npz", images=np.zeros((1, 1, 4, 4)))
    with pytest.raises(ResultsError, match="remove it to report without examples"):
        write_report(folder)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(("step", "name"), [("write_bytes", "b.png"), ("replace", "index.html")])
def test_a_report_that_fails_leaves_the_old_page(step, name, tmp_path, monkeypatch):
    target = tmp_path / "report"
    writing.replace_files(target, {"index.html": b"old", "figures/gone.png": b"x"})
    before = files_of(target)
    works = getattr(Path, step)

    def fails(path, *args):
        if path.name == name:
            raise OSError(28, "No space left on device")
        return works(path, *args)

    monkeypatch.setattr(Path, step, fails)
    with pytest.raises(
        ResultsError, match=r"report cannot be written .*No space left on device.* Free space there"
    ):
        writing.replace_files(target, {"index.html": b"new", "figures/b.png": b"x"})
    # Nothing has come to its place before all is written; what came then is known as the report's own.
    assert step == "replace" or files_of(target) == before
    assert files_of(target)["index.html"] == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    monkeypatch.undo()
    writing.replace_files(target, {"index.html": b"new"})
    assert files_of(target).keys() == {"index.html", writing.MANIFEST}
    assert (target / "index.html").read_bytes() == b"new"


def test_what_others_put_beside_a_report_stays(make_records, make_folder, tmp_path):
    folder = make_folder(tmp_path / "run", make_records(sizes=(32,), seeds=(0,)))
    page = write_report(folder)
    own = {
        "notes.txt": b"mine",
        "figures/own.png": b"mine too",
        "talk/slides.pdf": b"x",
        "figures/.hidden": b"h",
    }
    for name, content in own.items():
        (page.parent / name).parent.mkdir(exist_ok=True)
        (page.parent / name).write_bytes(content)
    (page.parent / "link").symlink_to("notes.txt")
    first = files_of(page.parent).keys()
    write_report(folder)
    assert files_of(page.parent).keys() == first
    assert own.items() <= files_of(page.parent).items()
    assert (page.parent / "link").is_symlink()


def test_a_report_of_others_is_not_written_over_and_one_without_a_list_is(tmp_path):
    target = tmp_path / "report"
    target.mkdir()
    (target / "index.html").write_bytes(b"<p>my own page</p>")
    with pytest.raises(
        ResultsError, match=r"index\.html would be written over, but is no file of an earlier report"
    ):
        writing.replace_files(target, {"index.html": b"new"})
    assert files_of(target) == {"index.html": b"<p>my own page</p>"}
    (target / "index.html").write_bytes(b'<p class="brand">diffstab <span>')
    (target / "own.txt").write_bytes(b"mine")
    writing.replace_files(target, {"index.html": b"new"})
    assert files_of(target).items() >= {"index.html": b"new", "own.txt": b"mine"}.items()


def test_file_names_are_harmless_and_differ():
    assert file_stem("fashion_mnist") == "fashion_mnist"
    odd = [file_stem(name) for name in ("../../etc", "a/b", "a b", "", "é" * 300)]
    assert len(set(odd)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", stem) for stem in odd)
