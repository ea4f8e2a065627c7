import re

import pytest
from rich.console import Console

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.sphere import SphereExperiment, SphereMethod
from diffstab.grid.running import run_grid
from diffstab.report.page import write_report
from diffstab.report.sphere.page import grid_size, solver_cautions, write_sphere_report
from diffstab.report.sphere.pictures import neurons_picture
from diffstab.report.tables import tidy_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A real small curve, with every kind of predictor and picture."""
    methods = {
        "lazy_ntk": SphereMethod(),
        "lazy_random_features": SphereMethod(predictor="random_features"),
        "feature_exact": SphereMethod(predictor="exact"),
    }
    experiment = SphereExperiment(
        dimensions=[2, 3],
        n_train=[6, 20],
        seeds=[0, 1],
        methods=methods,
        n_test=200,
        degrees=8,
        spectrum_points=100,
    )
    folder = tmp_path_factory.mktemp("curve")
    run_grid(experiment, folder, console=Console(quiet=True))
    write_sphere_report(folder)
    return folder


def test_the_page_stands_alone_with_its_figures_beside(folder):
    page = (folder / "report" / "index.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:|figures/)", page)
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    for stem in ("learning-curves", "circle", "neurons-d2", "neurons-d3", "atoms", "D_rotation"):
        assert {f"constant-{stem}.png", f"constant-{stem}.pdf"} <= names
        assert f"figures/constant-{stem}.png" in page
    for text in ("Exponents", "predicted 4.00", "Range rule", "lazy (random features)", "n_train:"):
        assert text in page


def test_the_page_repeats_to_the_byte(folder):
    first = (folder / "report" / "index.html").read_bytes()
    write_sphere_report(folder)
    assert (folder / "report" / "index.html").read_bytes() == first


def test_the_general_report_knows_a_folder_of_curves(folder):
    first = (folder / "report" / "index.html").read_bytes()
    assert write_report(folder).read_bytes() == first


def test_records_without_neurons_still_make_a_page(sphere_records, make_folder, tmp_path):
    page = write_sphere_report(make_folder(tmp_path / "run", sphere_records())).read_text()
    assert "lazy (NTK): 3." in page or "lazy (NTK): 2.9" in page
    assert "side the interval" in page


@pytest.mark.parametrize("searched", ["heuristic", "multi-start"])
def test_cautions_name_what_weakens_the_numbers(sphere_records, searched):
    frame = tidy_records(sphere_records(sizes=(8, 16), seeds=(0, 1)))
    assert solver_cautions(frame) == []
    weak = frame.assign(gap=1e-2, tolerance=1e-4, certificate=searched, solver="eigh")
    weak.loc[0, "test_error"] = float("nan")
    texts = solver_cautions(weak)
    assert [text.split(":")[0][:20] for text in texts] == [
        "Kernel regressions o",
        "Exact feature predic",
        "Feature predictors w",
        "Some runs have no fi",
    ]
    assert texts[1].endswith(": 8.")


def test_runs_without_a_record_are_counted(sphere_records, make_folder, tmp_path):
    text = "n_train: [8, 16]\ndimensions: [3]\ntargets: [{}]\nseeds: [0, 1, 2]\n"
    text += "methods: {lazy_ntk: {}, feature_exact: {largest_n_train: 8}}\n"
    records = sphere_records(sizes=(8,), seeds=(0, 1))
    page = write_sphere_report(make_folder(tmp_path / "run", records, config=text)).read_text()
    assert "Runs of the grid without a record: 5." in page
    assert grid_size({}) == grid_size({"n_train": [8], "methods": {}, "seeds": 3}) == 0


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="holds no records"):
        write_sphere_report(tmp_path)


def test_neurons_have_no_picture_in_higher_dimensions(sphere_records):
    with pytest.raises(ArgumentError, match="dimension must be 2 or 3, got 5"):
        neurons_picture(tidy_records(sphere_records()), dimension=5)
