"""The scripts of single figures."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from diffstab.errors import ResultsError
from diffstab.reporting.papers import write_curves, write_neurons

SCRIPTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module")
def folder(make_records, make_folder, tmp_path_factory):
    parts = [make_records(sizes=(32, 64), seeds=(0, 1), datasets=(name,)) for name in ("digits", "mnist")]
    parts[1] = parts[1].drop(columns=["G"])
    return make_folder(tmp_path_factory.mktemp("results") / "run", pd.concat(parts, ignore_index=True))


@pytest.mark.parametrize("name", ["overview", "test_error_vs_n", "stability_vs_n", "neurons"])
def test_each_script_writes_its_figure(name, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, str(folder)])
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    paths = [folder / "figures" / f"{name}.{kind}" for kind in ("png", "pdf")]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")


def test_figures_of_what_no_record_has_are_refused(folder):
    with pytest.raises(ResultsError, match=r"has nothing or none\. Run a comparison that measures it"):
        write_curves(folder, quantities=["nothing", "none"], name="x")


def test_neurons_of_kernels_are_refused(make_records, make_folder, tmp_path):
    kernels = make_records(sizes=(32,), seeds=(0,), methods=("lazy_exact",))
    with pytest.raises(ResultsError, match=r"has neurons\. Run a comparison that trains a net"):
        write_neurons(make_folder(tmp_path / "run", kernels))


def test_a_folder_that_cannot_be_written_is_named(folder, make_folder, make_records, tmp_path):
    target = make_folder(tmp_path / "run", make_records(sizes=(32,), seeds=(0,)))
    (target / "figures").write_text("a file")
    with pytest.raises(ResultsError, match=r"figures cannot be made .* Copy the results"):
        write_neurons(target)
