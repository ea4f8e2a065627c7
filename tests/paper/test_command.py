"""`diffstab paper`: what it runs, goes on with, leaves out and says."""

import re
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from diffstab import cli
from diffstab.errors import DataError, ResultsError
from diffstab.paper import command, running, stages
from diffstab.paper.command import dry_run, sizes_text, state
from diffstab.paper.running import plan_stages, run_planned, with_data
from diffstab.paper.stages import Stage
from diffstab.report.paper.page import write_paper
from diffstab.results import Failure, Records, read_records

TOY = """
data:
  class_path: datamodules.OneHotClasses
  init_args: {classes: 2}
n_train: [4]
seeds: [100]
widths: [1, 2]
restarts: 1
depth: 2
bias: 0.0
interpolation: true
descent: {adam_steps: 20, finish_steps: 5}
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Two stages of a second in place of those of the paper, and a page without claims and figures."""
    listed = {}
    (tmp_path / "configs").mkdir()
    for name in ("plateau_onehot", "plateau_mnist"):
        (tmp_path / "configs" / f"{name}.yaml").write_text(TOY)
        listed[name] = Stage(name, "plateau", 2.0, f"{name}.yaml", f"{name}.yaml", "larger")
    monkeypatch.setattr(stages, "CONFIGS", tmp_path / "configs")
    monkeypatch.setattr(stages, "STAGES", listed)
    monkeypatch.setattr(command, "write_paper", partial(write_paper, claims=(), figures={}))
    return tmp_path


@pytest.fixture
def without_images(toys, monkeypatch):
    """The same where the data of the second stage are absent."""

    def absent(planned):
        return "Gone." if planned.stage.name == "plateau_mnist" else ""

    monkeypatch.setattr(running, "_absent", absent)
    return toys


def test_missing_data_are_said_before_anything_runs(without_images, capsys):
    root = without_images / "results"
    assert cli.main(["paper", "--results", str(root)]) == 2
    said = capsys.readouterr().err
    assert "The data of stages are missing (plateau_mnist). Gone." in said
    assert "--without-images" in said
    assert not root.exists()


def test_a_paper_without_images_says_so_and_goes_on_where_it_stopped(without_images, capsys):
    root = without_images / "results"
    arguments = ["paper", "--results", str(root), "--without-images", "--workers", "1"]
    assert cli.main(arguments) == 0
    page = Path(re.search(r"Report: (.*)", capsys.readouterr().out)[1])
    html = page.read_text()
    assert "plateau_mnist was left out: Gone." in html
    assert "2 of 2" in html
    before = {path: path.stat().st_mtime_ns for path in (root / "plateau_onehot" / "records").iterdir()}
    assert len(before) == 2
    # Nothing is missing: no cluster is started, and no record written again.
    assert cli.main(arguments) == 0
    assert {
        path: path.stat().st_mtime_ns for path in (root / "plateau_onehot" / "records").iterdir()
    } == before


def test_a_dry_run_makes_nothing_and_looks_for_no_data(toys, monkeypatch, capsys):
    root = toys / "results"
    monkeypatch.setattr(running, "_absent", no_download)
    assert cli.main(["paper", "--results", str(root), "--dry-run"]) == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert re.search(r"plateau_onehot +plateau +2 of +2 runs, about 2.0 min$", first)
    assert re.search(r"plateau_mnist +plateau +2 of +2 runs, about 2.0 min$", second)
    assert total == "In all: about 4 min on two cores."
    assert not root.exists()


def test_full_sizes_have_no_time(toys):
    planned = plan_stages(["plateau_onehot"], toys / "results", full=True)
    assert next(dry_run(planned, full=True)).endswith(", time unknown")


def no_download(*args, **kwargs):
    raise DataError("not downloaded here", "nowhere", "Copy it.")


def test_stages_without_data_are_refused_or_marked_unless_all_is_recorded(toys, monkeypatch):
    (one,) = plan_stages(["plateau_onehot"], toys / "results")
    monkeypatch.setattr(type(one.experiment), "check_data", no_download)
    lost = "not downloaded here (nowhere). Copy it."
    message = rf"The data of stages are missing \(plateau_onehot\). {re.escape(lost)} Or leave"
    with pytest.raises(DataError, match=message):
        with_data([one], without_images=False)
    assert with_data([one], without_images=True) == [one._replace(absent=lost)]
    for key in one.keys:
        Records(one.folder).write(key, {"seed": 100})
    assert with_data([one], without_images=False) == [one]


def test_a_folder_of_another_configuration_is_refused_before_anything_runs(toys):
    (one,) = plan_stages(["plateau_onehot"], toys / "results")
    Records(one.folder).write("other", {"seed": 0})
    with pytest.raises(ResultsError, match=r"no config.yaml"):
        run_planned([one], workers=1, console=Console(quiet=True))
    assert len(read_records(one.folder)) == 1


def test_the_state_of_a_stage_counts_records_and_failures(toys):
    (one,) = plan_stages(["plateau_onehot"], toys / "results")
    assert state(one)[3:6] == (2, 0, [])
    first, second = one.keys
    records = Records(one.folder)
    records.write(first, {"seed": 100})
    records.fail(second, Failure("it broke"))
    found = state(one)
    assert (found.cells, found.recorded, list(found.failures)) == (2, 1, ["it broke"])
    assert found.published == "larger"
    assert found.sizes == "n = 4; widths = 1, 2; restarts = 1; 1 seed"


def test_stages_run_by_name_and_return_their_folders(toys):
    planned = plan_stages(["plateau_onehot"], toys / "results")
    found = run_planned(with_data(planned), workers=1, console=Console(quiet=True))
    assert found == {"plateau_onehot": toys / "results" / "plateau_onehot"}
    assert len(read_records(found["plateau_onehot"])) == 2


def test_sizes_in_words():
    config = {"n_train": [8, 16], "seeds": [1, 2], "net": {"hidden": [1000]}, "dimensions": [2, 3]}
    assert sizes_text(config) == "d = 2, 3; n = 8, 16; hidden widths = 1000; 2 seeds"
    more = {**config, "more_seeds": {"8": [3, 4, 5]}}
    assert sizes_text(more) == "d = 2, 3; n = 8, 16; hidden widths = 1000; 2 seeds; 5 at n = 8"


def test_documents_get_the_numbers_of_the_verdicts(toys):
    document = toys / "text.md"
    document.write_text("Of <!-- claims total -->9<!-- end --> claims.\n")
    assert (
        cli.main(["paper", "--results", str(toys / "results"), "--workers", "1", "--write", str(document)])
        == 0
    )
    assert document.read_text() == "Of <!-- claims total -->0<!-- end --> claims.\n"
