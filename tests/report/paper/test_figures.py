"""Every figure of the sources, drawn from small results folders."""

import re

import numpy as np
import pytest

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report import rendering
from diffstab.report.document import Document, Section
from diffstab.report.paper.figures import FIGURES, named_figure, named_figures

NEEDING_RUNS = [name for name, figure in FIGURES.items() if figure.stages]


@pytest.fixture(scope="module")
def drawn(stage_folders):
    """Every figure drawn once, as SVG alone: PNG and PDF of the same drawing take most of the time."""
    saved = rendering._saved

    def only_svg(figure, kind, metadata):
        return saved(figure, kind, metadata) if kind == "svg" else b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "_saved", only_svg)
        return {name: figure.draw(stage_folders) for name, figure in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_has_something_to_show_and_says_what(name, drawn):
    found = drawn[name]
    assert found.pictures or found.tables
    for picture in found.pictures:
        assert picture.svg.count("<path") > 10
        assert len(picture.caption) > 30
        assert len(picture.alt) > 30
        assert "nan" not in picture.alt
    for table in found.tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.headers)}


def test_files_and_identifiers_are_unique_over_all_figures(drawn):
    pictures = [picture for found in drawn.values() for picture in found.pictures]
    stems = [picture.stem for picture in pictures]
    assert len(set(stems)) == len(stems)
    assert all(re.fullmatch(r"[\w-]+", stem, re.ASCII) for stem in stems)
    html = Document("all", "figures", "all", [Section("all", pictures=pictures)]).html()
    names = re.findall(r'\bid="([^"]*)"', html)
    assert len(set(names)) == len(names)
    links = set(re.findall(r'(?:href="|url\()#([^")]*)', html))
    assert links <= set(names)


def test_a_figure_of_one_picture_has_its_name(drawn):
    assert [picture.stem for picture in drawn["constant_target"].pictures] == ["constant_target"]
    assert all(picture.stem.startswith("predictors-") for picture in drawn["predictors"].pictures)


@pytest.mark.parametrize("name", ["test_error_vs_n", "exponents"])
def test_what_is_missing_is_left_out(name, stage_folders, tmp_path):
    figure = FIGURES[name]
    folders = {figure.stages[0]: stage_folders[figure.stages[0]], figure.stages[1]: tmp_path}
    tables = figure.draw(folders).tables
    full = figure.draw(stage_folders).tables
    assert 0 < len(tables[0].rows) < len(full[0].rows)


@pytest.mark.parametrize("name", NEEDING_RUNS)
def test_without_any_record_a_figure_is_refused(name, tmp_path):
    with pytest.raises(ResultsError, match=f"{name} needs records of .* Run these first"):
        FIGURES[name].draw({FIGURES[name].stages[0]: tmp_path, "other": tmp_path})


def test_an_unknown_figure_is_refused():
    with pytest.raises(ArgumentError, match=r"name must be one of overview, .* got 'nothing'"):
        named_figure("nothing")
    assert set(FIGURES) < set(named_figures())
    assert named_figure("learning_curves").source == "page of sphere"


def test_all_targets_stand_in_the_table_of_exponents(drawn):
    (table,) = drawn["exponents"].tables
    place = table.headers.index("Predicted β")
    targets = {row[0].text for row in table.rows}
    wanted = {"constant target, d = 2", "Gaussian field ν = 0.5, d = 3", "target of two coordinates, d = 4"}
    assert wanted <= targets
    predicted = {(row[0].text, row[1].text): row[place].text for row in table.rows}
    assert predicted["constant target, d = 2", "feature (exact)"] == "4.00"
    assert predicted["Gaussian field ν = 0.5, d = 3", "lazy (NTK)"] == "0.50"


def test_exact_trained_and_lazy_share_a_figure_over_the_dimensions(drawn):
    (picture,) = drawn["constant_target"].pictures
    for words in (
        "d = 2, constant target",
        "d = 3, constant",
        "d = 5, constant",
        "lazy (NTK)",
        "feature (exact)",
    ):
        assert words in picture.alt


def test_paired_differences_of_three_data_sets_in_their_order(drawn):
    table, signs = drawn["test_error_vs_n"].tables[:2]
    assert list(dict.fromkeys(row[0].text for row in table.rows)) == [
        "MNIST",
        "Fashion-MNIST",
        "CIFAR-10 (JPEG)",
    ]
    # The made-up feature error lies above the lazy one on every draw.
    assert all(row[signs.headers.index("Test error")].text.startswith("2 of 2") for row in signs.rows)


def test_a_start_for_each_optimiser_and_seed_and_no_second_verdict(drawn):
    table = drawn["plateau_teacher"].tables[0]
    assert "Verdict" not in table.headers
    seeds = [row[table.headers.index("Seed")].text for row in table.rows]
    assert len(set(seeds)) == len(seeds) > 0
    assert all(row[table.headers.index("Start")].value >= 1 for row in table.rows)


def test_records_that_lack_what_a_figure_shows_are_refused(
    make_records, make_folder, stage_folders, tmp_path
):
    kernels = make_records(sizes=(32,), seeds=(0,), methods=("lazy_exact",))
    kernels = kernels.assign(D=np.nan, G=np.nan, R=np.nan)
    folders = {"images_mnist": make_folder(tmp_path / "run", kernels)}
    for name in ("neurons", "deformations", "stability_vs_n"):
        with pytest.raises(ResultsError, match=f"No record holds what {name} shows"):
            FIGURES[name].draw(folders)
    with pytest.raises(ResultsError, match="No record holds what gaussian_curves shows"):
        FIGURES["gaussian_curves"].draw({"sphere_gaussian": stage_folders["sphere_constant"]})
