"""`diffstab fit` as a command that runs a grid."""

import math
import threading
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from diffstab.errors import ArgumentError
from diffstab.experiments.fit import FITS, FitExperiment
from diffstab.experiments.unit import Workplace
from diffstab.grid.batch import Observer, run_batch
from diffstab.grid.options import parse as parse_options
from diffstab.grid.plan import make_batch
from diffstab.results import Records

# Of Lightning's own use of jsonargparse and torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

CONFIG = str(Path(__file__).parents[2] / "configs" / "fit" / "digits_adam.yaml")
SHORT = ["--trainer.max_epochs=2", "--model.net.init_args.hidden=[10]", "--data.init_args.n_test=50"]


def parse(*args):
    return parse_options(FitExperiment, ["--config", CONFIG, *SHORT, *args]).experiment


class Heard(Observer):
    def __init__(self):
        self.values = []

    def progressed(self, values):
        self.values.append(values)


def run(experiment, folder, *observers):
    """Run in a thread that is not the main one, as workers do."""
    records, failed = Records(folder), []

    def work():
        try:
            for cells in experiment.batches():
                answer = run_batch(make_batch(experiment, cells), records, *observers)
                assert answer.outcome == "done", answer.reason
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []
    return records.read()


def test_parsing_resolves_and_builds_nothing(place):
    experiment = parse("--model.optimiser.learning_rate,seed_everything=[0.02, 3]")
    assert experiment.resolved()["model"]["optimiser"]["learning_rate"] == 0.02
    assert [dict(cell) for cell in experiment.cells()] == [{"seed": 3}]
    assert list(place.iterdir()) == []
    with pytest.raises(ArgumentError, match="alhpa"):
        parse("--model.alhpa=1.0")


def test_a_run_leaves_record_checkpoint_and_configuration(place):
    observer = Heard()
    experiment = parse("--seed_everything=1")
    frame = run(experiment, place / "results", observer)
    record = frame.iloc[0]
    assert (record["dataset"], record["seed"], record["epochs"]) == ("digits", 1, 2)
    assert 0 <= record["val_error"] < 0.9
    assert math.isfinite(record["train_loss"])
    assert [sorted(values)[0] for values in observer.values] == ["step", "step"]
    fit = place / "results" / FITS / record["key"]
    weights = torch.load(fit / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]
    assert any(tuple(tensor.shape) == (10, 784) for tensor in weights.values())
    stored = yaml.safe_load((fit / "config.yaml").read_text())
    assert stored["model"] == experiment.config["model"]
    assert {path.name for path in place.iterdir()} == {"results"}


def test_a_run_repeats_to_the_bit(place):
    numbers = ["train_loss", "val_loss", "val_error", "val_D", "val_R", "steps"]
    one, other = (run(parse(), place / name)[numbers] for name in ("a", "b"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("key", ["4e12345678901234", "1234567890123456"])
def test_a_name_that_looks_like_a_number_names_a_folder_all_the_same(key, place):
    experiment = parse("--trainer.max_epochs=1")
    (cell,) = experiment.cells()
    experiment.run(cell, None, Workplace(place, {cell: key}, lambda _: None))
    assert (place / FITS / key / "checkpoints" / "final.ckpt").is_file()
    assert [path.name for path in (place / FITS).iterdir()] == [key]
