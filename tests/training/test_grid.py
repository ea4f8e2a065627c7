import io

import pytest
from rich.console import Console

from diffstab.errors import ArgumentError, ResultsError, RunError
from diffstab.progress import Progress
from diffstab.results import Records, RecordStore, provenance
from diffstab.training import grid
from diffstab.training.grid import COMMANDS, Observer, grid_command, run_batch, run_grid
from tests.references.toy_grid import Toy, ToyExperiment

QUIET = Console(quiet=True)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.heard = []

    def started(self, watched):
        self.heard.append(("started", watched.batch, watched.folder.name))

    def progressed(self, values):
        self.heard.append(("progressed", values))

    def recorded(self, cell, row):
        self.heard.append(("recorded", cell, row["square"]))

    def finished(self, error):
        self.heard.append(("finished", error))


def runs(log):
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


def test_a_grid_is_run_once_and_goes_on(tmp_path, log):
    folder = run_grid(Toy(), ToyExperiment(log=str(log)), tmp_path / "a", console=QUIET)
    frame = Records(folder).read()
    assert sorted(frame["square"]) == [1, 4, 9]
    run_grid(Toy(), ToyExperiment(numbers=[3, 4], log=str(log)), tmp_path / "a", console=QUIET)
    assert runs(log) == [1, 2, 3, 4]
    assert len(Records(folder).read()) == 4


def test_a_batch_that_shares_a_run_with_one_at_work_waits(tmp_path, log):
    experiment = ToyExperiment(numbers=[1, 2, 3], together=3, log=str(log))
    records = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy().grid_keys)
    with records.claim(Toy().key(experiment, 2)):
        assert run_batch(Toy(), experiment, (1, 2, 3), records, origin=provenance()) == "busy"
        assert records.claimed() == {Toy().key(experiment, 2)}
    assert runs(log) == []
    assert run_batch(Toy(), experiment, (1, 2, 3), records, origin=provenance()) == "done"
    assert records.claimed() == set()


def test_a_batch_is_computed_whole_and_only_what_is_missing_is_written(tmp_path, log):
    experiment = ToyExperiment(together=3, log=str(log))
    folder = run_grid(Toy(), experiment, tmp_path / "a", console=QUIET)
    records = Records(folder)
    keys = [Toy().key(experiment, number) for number in experiment.numbers]
    before = {path: path.stat().st_mtime_ns for path in (folder / "records").glob("*.parquet")}
    records.remove(keys[1:2])
    run_grid(Toy(), experiment, folder, console=QUIET)
    assert runs(log) == [1, 2, 3, 1, 2, 3]
    after = {path: path.stat().st_mtime_ns for path in (folder / "records").glob("*.parquet")}
    assert [path.stem for path in before if after[path] != before[path]] == keys[1:2]


def test_many_records_are_packed_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "WORTH_PACKING", 3)
    folder = run_grid(Toy(), ToyExperiment(numbers=[1, 2]), tmp_path / "a", console=QUIET)
    assert len(list((folder / "records").glob("*.parquet"))) == 2
    run_grid(Toy(), ToyExperiment(), folder, console=QUIET)
    assert not list((folder / "records").glob("*.parquet"))
    assert sorted(Records(folder).read()["square"]) == [1, 4, 9]


def test_a_run_has_the_same_key_in_every_folder(tmp_path):
    experiment = ToyExperiment(factor=2.0)
    store = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy.grid_keys)
    assert Toy().key(experiment, 3) == store.key({"number": 3})
    assert Toy().key(experiment, 3) == Toy().key(ToyExperiment(factor=2.0, numbers=[3], threads=1), 3)
    assert Toy().key(experiment, 3) != Toy().key(ToyExperiment(), 3)


def test_what_another_process_runs_is_left_to_it(tmp_path, log):
    experiment = ToyExperiment(log=str(log))
    store = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy.grid_keys)
    with store.claim(Toy().key(experiment, 2)) as mine:
        assert mine
        outcome = run_batch(Toy(), experiment, (2,), Records(store.folder), origin=provenance())
        assert outcome == "busy"
        with pytest.raises(ResultsError, match=r"1 batches of .* another process, numbers \(2,\) among them"):
            run_grid(Toy(), experiment, store.folder, console=QUIET)
    assert runs(log) == [1, 3]
    assert run_batch(Toy(), experiment, (2,), store, origin=provenance()) == "done"
    assert run_batch(Toy(), experiment, (2,), store, origin=provenance()) == "recorded"


def test_an_observer_hears_of_everything_in_order(tmp_path):
    listener = Listener()
    run_grid(Toy(), ToyExperiment(numbers=[5]), tmp_path / "a", console=QUIET, observer=listener)
    assert listener.heard == [
        ("started", (5,), "a"),
        ("progressed", {"steps": 1.0}),
        ("recorded", 5, 25),
        ("finished", None),
    ]


def test_an_observer_hears_of_the_error_and_earlier_records_stay(tmp_path):
    listener = Listener()
    experiment = ToyExperiment(numbers=[4, -1])
    with pytest.raises(RunError, match="1 of 2 failed"):
        run_grid(Toy(), experiment, tmp_path / "a", console=QUIET, observer=listener)
    kind, error = listener.heard[-1]
    assert kind == "finished"
    assert isinstance(error, ValueError)
    assert Records(tmp_path / "a").read()["number"].tolist() == [4]


def test_a_run_that_fails_is_noted_and_the_rest_goes_on(tmp_path):
    console = Console(record=True, width=300, file=io.StringIO())
    experiment = ToyExperiment(numbers=[1, -1, 2, -2])
    with pytest.raises(
        RunError, match=r"2 of 4 failed.*recorded in .*a\. .*failures holds why.*same command tries"
    ) as caught:
        run_grid(Toy(), experiment, tmp_path / "a", console=console)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "failed: numbers (-1,): ValueError: a negative number" in console.export_text()
    records = Records(tmp_path / "a")
    assert sorted(records.read()["number"]) == [1, 2]
    failures = records.failures()
    assert failures.keys() == {Toy().key(experiment, number) for number in (-1, -2)}
    failure = failures[Toy().key(experiment, -1)]
    assert (failure.reason, failure.label) == ("ValueError: a negative number", "numbers (-1,)")
    assert "Traceback" in failure.detail
    assert records.claimed() == set()


def test_the_display_says_what_is_running_and_how_far_it_is(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(Progress, "describe", lambda self, text: told.append(text))
    console = Console(file=io.StringIO())
    run_grid(Toy(), ToyExperiment(), tmp_path / "a", console=console)
    assert {"numbers (3,)", "numbers (3,), steps 1"} <= set(told)
    assert "3 of 3: numbers (3,), " in console.file.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_found_by_its_name(name):
    assert grid_command(name).name == name


def test_another_command_has_no_grid():
    with pytest.raises(ArgumentError, match="command must be one of compare, sphere curve, plateau, forces"):
        grid_command("report")
