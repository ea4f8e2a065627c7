import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from diffstab.errors import ArgumentError, RunError
from diffstab.experiments import experiment_class, listed
from diffstab.experiments.unit import Cell
from diffstab.grid import running
from diffstab.grid.batch import Answer, Observer, run_batch
from diffstab.grid.plan import experiment_plan, make_batch, missing_batches
from diffstab.grid.running import run_grid
from diffstab.progress import Progress
from diffstab.results import Records, RecordStore
from tests.references.toy_experiment import Toy

QUIET = Console(quiet=True)


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.heard = []

    def started(self, batch, folder):
        self.heard.append(("started", batch.label, folder.name))

    def progressed(self, values):
        self.heard.append(("progressed", values))

    def recorded(self, cell, row):
        self.heard.append(("recorded", cell["number"], row["square"]))

    def finished(self, error):
        self.heard.append(("finished", error))


def batch_of(experiment, *numbers):
    return make_batch(experiment, tuple(Cell(number=number) for number in numbers))


def runs(log):
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


def test_a_grid_is_run_once_and_goes_on(tmp_path, log):
    folder = run_grid(Toy(log=str(log)), tmp_path / "a", console=QUIET)
    frame = Records(folder).read()
    assert sorted(frame["square"]) == [1, 4, 9]
    run_grid(Toy(numbers=[3, 4], log=str(log)), tmp_path / "a", console=QUIET)
    assert runs(log) == [1, 2, 3, 4]
    assert len(Records(folder).read()) == 4


def test_a_batch_that_shares_a_run_with_one_at_work_waits(tmp_path, log):
    experiment = Toy(numbers=[1, 2, 3], together_size=3, log=str(log))
    records = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy.grid_keys())
    with records.claim(experiment.key(Cell(number=2))):
        assert run_batch(batch_of(experiment, 1, 2, 3), records).outcome == "busy"
        assert records.claimed() == {experiment.key(Cell(number=2))}
    assert runs(log) == []
    assert run_batch(batch_of(experiment, 1, 2, 3), records).outcome == "done"
    assert records.claimed() == set()


def test_a_batch_is_computed_whole_and_only_what_is_missing_is_written(tmp_path, log):
    experiment = Toy(together_size=3, log=str(log))
    folder = run_grid(experiment, tmp_path / "a", console=QUIET)
    records = Records(folder)
    keys = [experiment.key(Cell(number=number)) for number in experiment.numbers]
    before = {path: path.stat().st_mtime_ns for path in (folder / "records").glob("*.parquet")}
    records.remove(keys[1:2])
    run_grid(experiment, folder, console=QUIET)
    assert runs(log) == [1, 2, 3, 1, 2, 3]
    after = {path: path.stat().st_mtime_ns for path in (folder / "records").glob("*.parquet")}
    assert [path.stem for path in before if after[path] != before[path]] == keys[1:2]


def test_many_records_are_packed_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "WORTH_PACKING", 3)
    folder = run_grid(Toy(numbers=[1, 2]), tmp_path / "a", console=QUIET)
    assert len(list((folder / "records").glob("*.parquet"))) == 2
    run_grid(Toy(), folder, console=QUIET)
    assert not list((folder / "records").glob("*.parquet"))
    assert sorted(Records(folder).read()["square"]) == [1, 4, 9]


def test_a_run_has_the_same_key_in_every_folder(tmp_path):
    experiment = Toy(factor=2.0)
    store = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy.grid_keys())
    cell = Cell(number=3)
    assert experiment.key(cell) == store.key({"number": 3})
    assert experiment.key(cell) == Toy(factor=2.0, numbers=[3], threads=1).key(cell)
    assert experiment.key(cell) != Toy().key(cell)


def test_what_another_process_runs_is_left_to_it(tmp_path, log):
    experiment = Toy(log=str(log))
    store = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy.grid_keys())
    with store.claim(experiment.key(Cell(number=2))) as mine:
        assert mine
        assert run_batch(batch_of(experiment, 2), Records(store.folder)).outcome == "busy"
    assert runs(log) == []
    assert run_batch(batch_of(experiment, 2), store).outcome == "done"
    assert run_batch(batch_of(experiment, 2), store).outcome == "recorded"


@pytest.mark.parametrize("end", ["record", "nothing"])
def test_a_grid_waits_for_what_another_process_runs(end, tmp_path, log, monkeypatch):
    """The other one ends as soon as this one looks: with its record, or without."""
    experiment = Toy(log=str(log))
    store = RecordStore(tmp_path / "a", experiment.resolved(), grid_keys=Toy.grid_keys())
    key = experiment.key(Cell(number=2))
    held, claimed = store.claim(key), Records.claimed
    held.__enter__()

    def ending(records):
        found = claimed(records)
        if end == "record":
            store.write(key, {"number": 2, "square": -4})
        held.__exit__(None, None, None)
        monkeypatch.setattr(Records, "claimed", claimed)
        return found

    monkeypatch.setattr(Records, "claimed", ending)
    run_grid(experiment, store.folder, console=QUIET)
    assert runs(log) == [1, 3, 2][: 2 + (end == "nothing")]
    assert sorted(store.read()["square"]) == ([-4, 1, 9] if end == "record" else [1, 4, 9])


def test_the_time_left_follows_the_law_of_the_sizes(tmp_path, monkeypatch):
    """A run of twice the number takes four times as long: the forecast sees it, a mean of the past would not."""
    seconds = {number: float(number**2) for number in (1, 2, 4, 8)}
    monkeypatch.setattr(
        running, "run_on_worker", lambda batch, *_: Answer("done", seconds[batch.cells[0]["number"]])
    )
    monkeypatch.setattr(running, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: 0.0))
    left = []
    monkeypatch.setattr(Progress, "ended", lambda self, *_: left.append(self._tally.left_seconds))
    run_grid(Toy(numbers=[1, 2, 4, 8]), tmp_path / "a", console=QUIET)
    assert left[3] == pytest.approx(0.0, abs=0.1)
    assert left[2] == pytest.approx(64, rel=0.01)


def test_an_observer_hears_of_everything_in_order(tmp_path):
    listener = Listener()
    run_grid(Toy(numbers=[5]), tmp_path / "a", console=QUIET, observer=listener)
    assert listener.heard == [
        ("started", "number=5", "a"),
        ("progressed", {"steps": 1.0}),
        ("recorded", 5, 25),
        ("finished", None),
    ]


def test_an_observer_hears_of_the_error_and_earlier_records_stay(tmp_path):
    listener = Listener()
    experiment = Toy(numbers=[4, -1])
    with pytest.raises(RunError, match="1 of 2 failed"):
        run_grid(experiment, tmp_path / "a", console=QUIET, observer=listener)
    kind, error = listener.heard[-1]
    assert kind == "finished"
    assert isinstance(error, ValueError)
    assert Records(tmp_path / "a").read()["number"].tolist() == [4]


def test_a_run_that_fails_is_noted_and_the_rest_goes_on(tmp_path):
    console = Console(record=True, width=300, file=io.StringIO())
    experiment = Toy(numbers=[1, -1, 2, -2])
    message = r"2 of 4 failed.*recorded in .*a\. .*failures holds why.*same command tries"
    with pytest.raises(RunError, match=message):
        run_grid(experiment, tmp_path / "a", console=console)
    assert "failed: number=-1: ValueError: a negative number" in console.export_text()
    records = Records(tmp_path / "a")
    assert sorted(records.read()["number"]) == [1, 2]
    failures = records.failures()
    assert failures.keys() == {experiment.key(Cell(number=number)) for number in (-1, -2)}
    failure = failures[experiment.key(Cell(number=-1))]
    assert (failure.reason, failure.label) == ("ValueError: a negative number", "number=-1")
    assert "Traceback" in failure.detail
    assert records.claimed() == set()


def test_the_display_says_what_is_running_and_how_far_it_is(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(Progress, "describe", lambda self, text: told.append(text))
    console = Console(file=io.StringIO())
    run_grid(Toy(), tmp_path / "a", console=console)
    assert {"number=3", "number=3, steps 1"} <= set(told)
    assert "3 of 3: number=3, " in console.file.getvalue()


def test_what_is_missing_is_told_cell_by_cell(tmp_path):
    folder = run_grid(Toy(numbers=[1, 2]), tmp_path / "a", console=QUIET)
    absent = missing_batches(experiment_plan(Toy(numbers=[3, 2, 4])).batches, Records(folder))
    assert [batch.cells for batch in absent] == [(Cell(number=3),), (Cell(number=4),)]


def test_every_record_says_what_it_is_and_how_long_it_took(tmp_path):
    folder = run_grid(Toy(together_size=3), tmp_path / "a", console=QUIET)
    frame = Records(folder).read()
    assert set(frame["kind"]) == {"toy"}
    assert frame["started_at"].nunique() == 1
    # Of runs at once each has an equal share.
    assert frame["wall_seconds"].nunique() == 1
    assert frame["wall_seconds"].gt(0).all()


@pytest.mark.parametrize("name", listed())
def test_every_experiment_is_found_by_its_name(name):
    assert experiment_class(name).name == name


def test_another_command_is_no_experiment():
    with pytest.raises(ArgumentError, match=r"experiment must be one of .*compare.*plateau"):
        experiment_class("report")
