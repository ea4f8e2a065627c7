"""`diffstab hierarchy`: its grid, and records against trainings and measurements made by hand."""

import dataclasses
from pathlib import Path

import pytest
import torch
from rich.console import Console

from diffstab.errors import ArgumentError
from diffstab.experiments.hierarchy import HierarchyExperiment
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.results import read_records
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.stopping import StopRule

QUIET = Console(quiet=True)
FILES = sorted((Path(__file__).parents[2] / "configs" / "experiment").glob("hierarchy*.yaml"))


def tiny(**options):
    stop = StopRule(margin_share=None, loss_bound=0.05, max_steps=400)
    optimiser = OptimiserSettings(name="adam", learning_rate=3e-3, batch_size=32, stop=stop)
    return HierarchyExperiment(
        **{"optimiser": optimiser, "width": 32, "n_test": 100, "pool": 1000, **options}
    )


def test_tasks_without_strings_for_the_largest_size_are_left_out():
    def tasks(**options):
        cells = HierarchyExperiment(levels=[2, 3], synonyms=[4, 8], multiples=[4, 0.5], **options).cells()
        found = {}
        for cell in cells:
            found.setdefault((cell["levels"], cell["synonyms"]), []).append(cell["multiple"])
        return found

    # L = 2, m = 4: of 512 strings 384 are to train on, 3 n_c m^L.
    assert tasks() == {task: [0.5, 4] for task in ((2, 8), (3, 4), (3, 8))}
    assert tasks(pool=4000) == {task: [0.5, 4] for task in ((2, 8), (3, 4))}


def test_a_net_that_saw_most_strings_has_learned_part_of_the_rules(tmp_path):
    # 192 strings: 48 for tests, 144 to train on.
    options = {"synonyms": [4], "features": 4, "classes": 3, "multiples": [3.0], "seeds": [0, 1]}
    run_grid(tiny(**options), tmp_path, console=QUIET)
    records = read_records(tmp_path)
    assert set(records["dataset"]) == {"L = 2, m = 4"}
    assert (records["n_train"] == 144).all()
    assert (records["known_size"] == 3 * 4**2).all()
    assert records["chance"].tolist() == pytest.approx([2 / 3] * 2)
    assert (records["test_error"] < 1 / 3).all()  # half of that of a guess
    assert (records["D_synonyms"] < 1 / 2).all()
    assert (records["train_error"] == 0).all()
    assert (records["stop_reason"] == "loss").all()


def test_records_hold_error_and_sensitivities_of_output_and_layers(tmp_path):
    experiment = tiny(empty=[1], multiples=[0.25], seeds=[3])
    run_grid(experiment, tmp_path, console=QUIET)
    (row,) = read_records(tmp_path).to_dict("records")
    assert (row["n_train"], row["known_size"]) == (128, 512)
    assert row["test_error"] * 100 == pytest.approx(round(row["test_error"] * 100))
    for change in ("synonyms", "moves"):
        for end in ("", "_1", "_2"):
            assert row[f"D_{change}{end}"] == pytest.approx(row[f"R_{change}{end}"] * row[f"G_{change}{end}"])
            assert 0 < row[f"D_{change}{end}"] < 2
    # More strings: a better net, that is blinder to what does not matter.
    run_grid(dataclasses.replace(experiment, multiples=[0.25, 1.75]), tmp_path, console=QUIET)
    records = read_records(tmp_path).sort_values("n_train")
    for name in ("test_error", "D_synonyms", "D_moves"):
        few, many = records[name]
        assert many < 0.8 * few, name


def test_a_run_repeats_to_the_bit(tmp_path):
    experiment = tiny(multiples=[0.5])
    for folder in ("one", "two"):
        run_grid(experiment, tmp_path / folder, console=QUIET)
    one, two = (read_records(tmp_path / folder).iloc[0] for folder in ("one", "two"))
    for name in ("test_error", "D_synonyms", "G_synonyms", "loss", "steps"):
        assert one[name] == two[name]


def test_the_global_generator_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    run_grid(tiny(multiples=[0.25]), tmp_path, console=QUIET)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": [0]}, "levels must hold different numbers of at least 1"),
        ({"synonyms": [1]}, "synonyms must hold different numbers of at least 2"),
        ({"synonyms": [4, 9]}, "synonyms must be at most 64 tuples / 8 parents, got 9"),
        ({"multiples": []}, "multiples must not be empty"),
        ({"multiples": [4.0]}, "multiples must be above 0, and leave a task with strings enough"),
        ({"multiples": [0.0, 1.0]}, "multiples must be above 0"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        HierarchyExperiment(**options)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_runs_in_small_and_says_what_it_shows(path, tmp_path):
    experiment, folder, *_ = parse(HierarchyExperiment, ["--config", str(path)])
    assert folder == Path("results") / path.stem
    changes = {"multiples": [0.25], "seeds": [0], "levels": experiment.levels[:1], "width": 8}
    small = dataclasses.replace(experiment, **changes, optimiser=tiny().optimiser)
    run_grid(small, tmp_path, console=QUIET)
    assert len(read_records(tmp_path)) == len(experiment.synonyms) * len(experiment.empty)
    head = path.read_text()
    assert all(word in head for word in ("# Command: diffstab hierarchy --config", "# Time: ", "Expected: "))
