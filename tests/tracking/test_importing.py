"""W&B runs back into records: exactly, whole or not at all."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console

from diffstab.cli import main
from diffstab.errors import ArgumentError, ResultsError
from diffstab.grid.plan import experiment_plan, missing_batches
from diffstab.grid.running import run_grid
from diffstab.results import Records
from diffstab.tracking import WandbObserver
from diffstab.tracking.importing import import_runs, row_of
from diffstab.tracking.runs import FoundRun, online_runs
from tests.references.toy_experiment import Toy

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def _place(quiet_place):
    return quiet_place


@pytest.fixture(scope="module")
def made(settle):
    """Runs the grid of an experiment on W&B; returns its results folder."""

    def run(experiment, folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WANDB_MODE", "offline")
            patch.setenv("HOME", str(folder.parent))
            # Pictures take longest and no part in what is read back.
            patch.setattr("diffstab.report.pages.run_pictures", lambda *given: {})
            run_grid(experiment, folder, console=QUIET, observer=WandbObserver("tests"))
            settle()
        return folder

    return run


@pytest.fixture(scope="module")
def original(tmp_path_factory, tiny, made):
    """A results folder with two runs of W&B, of four records each."""
    return made(tiny["plateau"](seeds=[0, 1]), tmp_path_factory.mktemp("original") / "plateau")


@pytest.fixture
def folder(quiet_place, original):
    """A copy of it, to be damaged."""
    return shutil.copytree(original, quiet_place / "plateau", symlinks=True)


def test_offline_runs_come_back_as_they_were(quiet_place, folder, tiny, capsys):
    again = quiet_place / "again"
    assert main(["import-wandb", str(folder), "--results", "again"]) == 0
    assert capsys.readouterr().out == "8 records imported into again, 0 were there already.\n"
    assert_frame_equal(Records(again).read(), Records(folder).read())
    assert (again / "config.yaml").read_bytes() == (folder / "config.yaml").read_bytes()
    # It is a results folder like any other: the same command finds all of its runs there.
    assert missing_batches(experiment_plan(tiny["plateau"](seeds=[0, 1])).batches, Records(again)) == []


def test_runs_of_an_experiment_of_ones_own_come_back_too(quiet_place, made):
    """It is no command here: its settings that may differ are told by its runs."""
    folder, again = made(Toy(numbers=[2, 3], factor=5.0), quiet_place / "toy"), quiet_place / "again"
    assert import_runs(str(folder), again).written == 2
    assert_frame_equal(Records(again).read(), Records(folder).read())
    run_grid(Toy(numbers=[2, 3, 4], factor=5.0), again, console=QUIET)
    assert len(Records(again).read()) == 3


def test_what_is_there_stays(quiet_place, folder, tiny, made):
    again = quiet_place / "again"
    made(tiny["plateau"](seeds=[0, 5]), again)
    key = sorted(Records(folder).keys() & Records(again).keys())[0]
    Records(again).write(key, {"loss": -1.0})
    assert import_runs(str(folder), again)[:2] == (4, 4)
    assert Records(again).read().set_index("key").loc[key, "loss"] == -1
    assert "- 5" in (again / "config.yaml").read_text()


def test_another_configuration_is_refused(quiet_place, folder, tiny, made):
    again = made(tiny["plateau"](penalty=0.5), quiet_place / "again")
    before = sorted(again.rglob("*"))
    with pytest.raises(ResultsError, match="holds results of another configuration; it differs in penalty"):
        import_runs(str(folder), again)
    assert sorted(again.rglob("*")) == before


def test_several_groups_ask_for_a_choice(quiet_place, folder, tiny, made):
    made(tiny["plateau"](penalty=0.5), quiet_place / "other")
    with pytest.raises(ArgumentError, match="group must be one of other, plateau, got none"):
        import_runs(str(quiet_place), quiet_place / "again")
    assert import_runs(str(quiet_place), quiet_place / "again", group="other").written == 4


@pytest.mark.parametrize("what", ["log", "record", "config"])
def test_a_damaged_run_stops_the_import_or_is_left_out(quiet_place, folder, capsys, what):
    run = min(folder.glob("wandb/offline-run-*"))
    kept = run / "files" / "results"
    if what == "log":
        (path,) = run.glob("*.wandb")
        path.write_bytes(b"junk" * 300)
    elif what == "record":
        path = next((kept / "records").iterdir())
        path.write_bytes(path.read_bytes()[:-20])
    else:
        (kept / "config.yaml").write_text("]")
    again = quiet_place / "again"
    with pytest.raises(ResultsError, match=r"1 runs of .* are damaged: .* Nothing was imported"):
        import_runs(str(folder), again)
    assert not again.exists()
    if what == "record":
        assert main(["import-wandb", str(folder), "--results", str(again), "--skip-damaged"]) == 0
        told = capsys.readouterr()
        assert told.out.startswith("4 records imported")
        assert f"Left out as damaged: {run.name.split('-', 3)[3]} (" in told.err


def test_a_killed_run_gives_the_records_that_it_has(quiet_place, folder):
    logs = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    for log in logs:
        log.write_bytes(log.read_bytes()[:-200])
    shutil.rmtree(logs[0].parent / "files" / "results")
    done = import_runs(str(folder), quiet_place / "again")
    assert (done.written, len(done.unfinished)) == (4, 1)


def test_a_full_disk_takes_the_import_back(quiet_place, folder, monkeypatch):
    from diffstab.tracking import importing

    write, written = importing.write_atomically, []

    def fill(path, content):
        if len(written) == 3:
            raise ResultsError("No space left on device.")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(importing, "write_atomically", fill)
    with pytest.raises(ResultsError, match="No space left"):
        import_runs(str(folder), quiet_place / "again")
    assert len(written) == 3
    assert not list((quiet_place / "again").rglob("*.parquet"))


@pytest.mark.parametrize("source", ["nowhere", "/a/b", "a/b/c"])
def test_a_source_is_a_folder_or_a_project(quiet_place, source):
    with pytest.raises(ArgumentError, match="source must be a folder of offline runs or ENTITY/PROJECT"):
        import_runs(source, quiet_place / "again")


def test_a_folder_without_runs_is_told(quiet_place):
    (quiet_place / "empty").mkdir()
    with pytest.raises(ResultsError, match="holds no run of W&B"):
        import_runs("empty", quiet_place / "again")


def test_folders_are_looked_through_to_a_depth(quiet_place):
    for depth in (5, 6):
        folder = quiet_place.joinpath(f"root{depth}", *"abcdef"[: depth - 1])
        folder.mkdir(parents=True)
        (folder / "run.wandb").write_bytes(b"no log")
    with pytest.raises(ResultsError, match=r"1 runs of .* are damaged"):
        import_runs("root5", quiet_place / "again")
    with pytest.raises(ResultsError, match=r"holds no run of W&B .*4 folders deep"):
        import_runs("root6", quiet_place / "again")


class Server:
    """As much of `wandb.Api` as is used, over the files of offline runs."""

    def __init__(self, folder, *, broken=False):
        self.folder, self.broken = Path(folder), broken

    def runs(self, path):
        assert path == "me/tests"
        for place in sorted(self.folder.glob("wandb/offline-run-*")):
            yield SimpleNamespace(
                id=place.name.split("-", 3)[3],
                name=f"run {place.name}",
                group="plateau",
                state="finished",
                created_at=place.name,
                config={"command": "plateau", "_wandb": {}},
                summary={"loss": 1.0},
                files=lambda place=place: self.files(place / "files"),
            )

    def files(self, place):
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            yield SimpleNamespace(
                name=path.relative_to(place).as_posix(),
                download=lambda path=path, **given: self.get(path, **given),
            )

    def get(self, path, *, root, replace):
        if self.broken:
            raise OSError("connection reset")
        relative = path.relative_to(next(one for one in path.parents if one.name == "files"))
        target = Path(root) / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def test_a_project_on_the_server_comes_back_as_it_was(quiet_place, folder):
    again = quiet_place / "again"
    assert import_runs("me/tests", again, api=Server(folder))[:3] == (8, 0, [])
    assert_frame_equal(Records(again).read(), Records(folder).read())


def test_an_unknown_group_is_refused(quiet_place, folder):
    with pytest.raises(ArgumentError, match="group must be one of plateau, got 'bogus'"):
        import_runs("me/tests", quiet_place / "again", group="bogus", api=Server(folder))


def test_a_broken_download_is_a_damaged_run(quiet_place, folder):
    with pytest.raises(ResultsError, match=r"2 runs of me/tests are damaged: .*connection reset"):
        import_runs("me/tests", quiet_place / "again", api=Server(folder, broken=True))


def test_a_server_that_does_not_answer_is_told(quiet_place):
    with pytest.raises(ResultsError, match="W&B did not answer for me/tests"):
        import_runs("me/tests", quiet_place / "again", api=SimpleNamespace())


def test_a_file_name_cannot_lead_out_of_its_folder(quiet_place):
    file = SimpleNamespace(name="results/../../evil", download=None)
    run = SimpleNamespace(id="a", name="a", files=lambda: [file])
    server = SimpleNamespace(runs=lambda path: [run])
    assert "outside of its folder" in online_runs("me/tests", quiet_place, api=server).damaged["a"]


def test_a_plain_fit_becomes_a_record(quiet_place):
    config = {
        "seed_everything": 3,
        "data": {"class_path": "datamodules.Digits", "init_args": {"n_train": 20}},
        "model": {"alpha": 1.0},
    }
    summary = {"val_error": 0.25, "test_error": 0.5, "val_D": 0.1, "_step": 7, "note": "text"}
    run = FoundRun("abc", "fit 1", "", "2026", True, config, summary, quiet_place / "none")
    row = row_of(run)
    assert {name: row[name] for name in ("dataset", "method", "n_train", "seed", "test_error", "D")} == {
        "dataset": "Digits",
        "method": "fit 1",
        "n_train": 20,
        "seed": 3,
        "test_error": 0.5,
        "D": 0.1,
    }
    assert {"_step", "note"}.isdisjoint(row)
    foreign = row_of(run._replace(summary={"loss": 0.1, "R": 2.0}))
    assert (foreign["loss"], foreign["R"]) == (0.1, 2.0)
    assert "test_loss" not in foreign
    Records(quiet_place / "again").write("abc", row)
    assert isinstance(Records(quiet_place / "again").read(), pd.DataFrame)
