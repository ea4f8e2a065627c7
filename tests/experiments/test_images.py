import dataclasses
import errno
import math

import pandas as pd
import pytest
import torch
import yaml

import diffstab.results.atomic
from diffstab.diffeo import temperature_from_displacement, warp
from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.classes import build_data
from diffstab.experiments.image_columns import error_rate
from diffstab.experiments.images import ImageExperiment, Method, NetChoice, StabilityChoice
from diffstab.experiments.unit import Cell
from diffstab.grid import batch
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.results import read_records
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.stopping import StopRule
from tests.references.grids import QUIET, check_that_only_what_is_missing_is_done, numbers

DIGITS = {"class_path": "datamodules.Digits"}


def tiny(**changes):
    experiment = ImageExperiment(
        data=DIGITS,
        n_train=[10],
        seeds=[0, 1],
        net=NetChoice(hidden=[20]),
        stability=StabilityChoice(images=40, fields_per_image=1, bootstrap=20),
    )
    return dataclasses.replace(experiment, **changes)


def test_convention_probes_deform_the_normalised_images():
    experiment = tiny()
    drawn = experiment.prepare(Cell(n_train=10, seed=0))
    data, probes = drawn.data, drawn.probes
    assert torch.equal(probes.clean, data.test_images[:40])
    assert probes.clean.flatten(1).norm(dim=1).mean().item() == pytest.approx(28, rel=1e-5)
    assert probes.draw.temperature == pytest.approx(temperature_from_displacement(1.0, 28, 3))
    assert torch.equal(warp(probes.clean, torch.zeros(40, 2, 28, 28)), probes.clean)
    noise = (probes.noisy[0] - probes.clean).flatten(1).norm(dim=1)
    torch.testing.assert_close(noise, (probes.deformed[0] - probes.clean).flatten(1).norm(dim=1))


def test_one_record_a_run_with_everything_in_it(tmp_path):
    run_grid(tiny(), tmp_path, console=QUIET)
    frame = read_records(tmp_path)
    assert len(frame) == 4
    assert frame["key"].is_unique
    assert (tmp_path / "examples.npz").exists()
    feature = frame[frame["method"] == "feature"]
    for column in ("test_error", "D", "D_low", "G", "R", "init_R", "n_atoms", "init_n_atoms", "kernel_drift"):
        assert feature[column].notna().all(), column
    assert feature["R"].to_numpy() == pytest.approx((feature["D"] / feature["G"]).to_numpy())
    assert feature["init_n_patterns"].between(10, 20).all()  # of 20 neurons
    assert frame[frame["method"] == "lazy_exact"]["init_R"].isna().all()
    assert set(frame["regime"]) == {"feature", "lazy"}


def test_records_tell_the_number_of_images_that_were_measured(tmp_path, caplog):
    data = {**DIGITS, "init_args": {"n_test": 30}}
    choice = StabilityChoice(images=5000, fields_per_image=1, bootstrap=20)
    experiment = tiny(
        data=data, seeds=[0], methods={"lazy": Method(trainer="ridge", regime="lazy")}, stability=choice
    )
    with caplog.at_level("INFO", logger="diffstab"):
        folder = run_grid(experiment, tmp_path, console=QUIET)
    assert read_records(folder)["stability_images"].tolist() == [30]
    assert "stability.images is 5000; there are 30 test images" in caplog.text


def test_the_same_seeds_give_the_same_bits(tmp_path):
    for name in ("a", "b"):
        run_grid(tiny(), tmp_path / name, console=QUIET)
    pd.testing.assert_frame_equal(numbers(tmp_path / "a"), numbers(tmp_path / "b"), check_exact=True)


def test_an_interrupted_comparison_does_only_what_is_missing(tmp_path, monkeypatch):
    check_that_only_what_is_missing_is_done(tiny(), tmp_path, monkeypatch)


def test_a_larger_grid_keeps_the_records_that_are_there(tmp_path):
    run_grid(tiny(seeds=[0]), tmp_path, console=QUIET)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    run_grid(tiny(seeds=[0, 1]), tmp_path, console=QUIET)
    assert len(read_records(tmp_path)) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_the_folder_of_another_configuration_is_left_alone(tmp_path):
    run_grid(tiny(seeds=[0]), tmp_path, console=QUIET)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ResultsError, match=r"another configuration.*net\.beta"):
        run_grid(tiny(net=NetChoice(hidden=[20], beta=4.0)), tmp_path, console=QUIET)
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_the_earlier_records(tmp_path, monkeypatch):
    run_grid(tiny(seeds=[0]), tmp_path, console=QUIET)
    before = numbers(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(diffstab.results.atomic.os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left"):
        run_grid(tiny(), tmp_path, console=QUIET)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(numbers(tmp_path), before)
    run_grid(tiny(), tmp_path, console=QUIET)
    assert len(read_records(tmp_path)) == 4


def test_methods_share_draws_and_ensembles_average(tmp_path):
    stop = StopRule(max_steps=200)
    methods = {
        "one": Method(trainer="adam", optimiser=OptimiserSettings(stop=stop)),
        "three": Method(trainer="adam", ensemble=3, optimiser=OptimiserSettings(stop=stop)),
        "svc": Method(trainer="svc", regime="lazy"),
        "ridge": Method(trainer="ridge", regime="lazy", regularisation=1e-3),
        "features": Method(trainer="kernel_flow", regime="lazy", kernel="random_feature"),
    }
    run_grid(tiny(methods=methods, seeds=[0]), tmp_path, console=QUIET)
    frame = read_records(tmp_path).set_index("method")
    assert frame["measured_delta_px"].nunique() == 1
    assert frame.loc["one", "D"] != frame.loc["three", "D"]
    assert frame.loc["three", "init_denominator"] < frame.loc["one", "init_denominator"]
    assert math.isnan(frame.loc["svc", "flow_time"])
    assert frame.loc["svc", "margin_share"] == 1


def test_errors_are_counted_on_the_sign():
    labels = torch.tensor([1.0, -1.0, 1.0, -1.0])
    outputs = torch.tensor([0.3, -2.0, 0.0, 4.0])
    assert error_rate(lambda _: outputs, torch.zeros(4, 1), labels) == 0.5


def test_a_cell_says_what_distinguishes_it():
    experiment = tiny()
    cells = [Cell(n_train=10, seed=0, method=method) for method in ("feature", "lazy_exact")]
    assert list(experiment.cells())[:2] == cells
    assert experiment.settings(cells[0])["settings"]["alpha"] == 1e-6
    assert experiment.label((cells[1],)) == "n=10 seed=0 lazy_exact"


def test_single_sizes_take_further_seeds(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text(
        "n_train: [8, 10]\nseeds: [0]\nmore_seeds: {8: [2, 1]}\nmethods: {lazy: {trainer: kernel_flow}}"
    )
    experiment = parse(ImageExperiment, ["--config", str(path)]).experiment
    assert [(cell["n_train"], cell["seed"]) for cell in experiment.cells()] == [
        (8, 0),
        (8, 2),
        (8, 1),
        (10, 0),
    ]
    without = dataclasses.replace(experiment, more_seeds={})
    for cell in without.cells():
        assert experiment.key(cell) == without.key(cell)
    path.write_text(yaml.safe_dump(experiment.resolved()))
    assert parse(ImageExperiment, ["--config", str(path)]).experiment == experiment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_trai: [8]", "Option 'n_trai' is not accepted"),
        ("n_train: [many]", "n_train"),
        ("methods: {a: {trainer: magic}}", r"methods\.\*\.trainer must be one of gradient_flow"),
        ("methods: {a: {trainer: svc, alhpa: 1.0}}", "alhpa"),
        ("seeds: []", "seeds must not be empty"),
        ("n_train: [8, 8]", "n_train must hold different numbers of at least 2"),
        ("more_seeds: {512: [3], 7: [4]}", "more_seeds must name sizes of n_train, got 7"),
        ("more_seeds: {512: [2]}", r"more_seeds\.512 must hold further seeds, got \[2\]"),
        ("more_seeds: {512: [3, 3]}", r"more_seeds\.512 must hold further seeds"),
        ("more_seeds: {512: [-1]}", r"more_seeds\.512 must hold further seeds"),
        ("loss: l1", "loss must be soft_hinge, hinge, quadratic_hinge, mse or cross_entropy"),
        ("stability: {cutoff: 1}", "cutoff must be an integer of at least 2"),
        ("stability: {images: 1}", r"stability\.images must be at least 2"),
        ("stability: {fields_per_image: 0}", r"stability\.fields_per_image must be at least 1"),
        ("methods: {a: {trainer: adam, ensemble: 0}}", r"ensemble must be at least 1"),
        ("methods: {a: {alpha: 1.0e+6}}", "alpha must be resolved by the net's type torch.float32"),
        (
            "methods: {a: {trainer: svc, kernel: rbf}}",
            r"methods\.\*\.kernel must be one of ntk, random_feature",
        ),
        (
            "methods: {a: {regularisation: -1.0}}",
            r"methods\.\*\.regularisation must be finite and at least 0",
        ),
        ("methods: {a: {optimiser: {weight_tolerance: 0.0}}}", "weight_tolerance must be positive"),
        ("net: {hidden: []}", "hidden must name at least one hidden layer"),
        ("net: {scaling: wide}", "scaling must be one of ntk, mean_field"),
        ("loss_beta: 0.0", "loss_beta must be positive and finite"),
        ("threads: 0", "threads must be at least 1"),
        ("stability: {noise: -1.0}", r"stability\.noise must be matched, batch or a norm above 0"),
        ("stability: {bootstrap: -1}", r"stability\.bootstrap must be at least 0"),
        ("stability: {confidence: 1.0}", r"stability\.confidence must lie strictly between 0 and 1"),
    ],
)
def test_a_wrong_file_is_one_clear_error(text, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        parse(ImageExperiment, ["--config", str(path)])


def test_command_line_beats_the_file(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("n_train: [8]\nstability: {delta_px: 0.7}\n")
    experiment, folder, *_ = parse(
        ImageExperiment, ["--config", str(path), "--n_train", "[16, 32]", "--results", "elsewhere"]
    )
    assert experiment.n_train == [16, 32]
    assert experiment.stability.delta_px == 0.7
    assert str(folder) == "elsewhere"
    assert str(parse(ImageExperiment, ["--config", str(path)])[1]) == "results/experiment"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"class_path": "datamodules.Nothing"}, r"data\.class_path must name an importable class"),
        ({"class_path": "Digits"}, r"data\.class_path must name an importable class"),
        ({"init_args": {}}, "data must have the keys class_path"),
        ({**DIGITS, "init_args": {"sizes": 3}}, r"data\.init_args must be among .*size.*got sizes"),
        ({**DIGITS, "init_args": {"seed": 3}}, "n_train and seed are set by"),
        ({**DIGITS, "init_args": {"labels": "classes"}}, r"data\.init_args\.labels must be 'parity'"),
    ],
)
def test_wrong_data_leave_nothing_behind(choice, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        run_grid(tiny(data=choice), tmp_path / "new", console=QUIET)
    assert not (tmp_path / "new").exists()


def test_more_images_than_there_are_leave_nothing_behind(tmp_path):
    with pytest.raises(ArgumentError, match="n_train must be at most 1200, got 5000"):
        run_grid(tiny(n_train=[10, 5000]), tmp_path / "new", console=QUIET)
    assert not (tmp_path / "new").exists()


def test_every_option_of_the_data_can_be_set_on_the_command_line(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("data: {class_path: datamodules.Digits, init_args: {n_test: 50}}\n")
    experiment, *_ = parse(
        ImageExperiment,
        ["--config", str(path), "--data.init_args.size", "8", "--methods.feature.alpha", "1e-3"],
    )
    assert experiment.data["init_args"]["n_test"] == 50
    assert experiment.data["init_args"]["size"] == 8
    assert experiment.methods["feature"].alpha == 1e-3
    data = build_data(experiment.data, n_train=10, seed=0)
    assert data.test_images.shape == (50, 1, 8, 8)
    with pytest.raises(ArgumentError, match="n_tst"):
        parse(ImageExperiment, ["--config", str(path), "--data.init_args.n_tst", "8"])


def test_a_mistyped_label_makes_no_new_method(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("methods: {slow: {alpha: 0.1}}\n")
    with pytest.raises(
        ArgumentError, match=r"--methods\.slwo must name an entry .* got 'slwo'\. There are slow\."
    ):
        parse(ImageExperiment, ["--config", str(path), "--methods.slwo.alpha=0.2"])
    with pytest.raises(ArgumentError, match=r"--methods\.feture must .* There are feature, lazy_exact"):
        parse(ImageExperiment, ["--methods.feture.alpha", "0.2"])
    for config in (["--config", str(path)], ['--config={"methods": {"slow": {}}}']):
        assert (
            parse(ImageExperiment, [*config, "--methods.slow.alpha=0.2"]).experiment.methods["slow"].alpha
            == 0.2
        )
    whole = parse(
        ImageExperiment, ["--methods", "{new: {alpha: 0.3}}", "--methods.new.alpha", "0.2"]
    ).experiment
    assert whole.methods["new"].alpha == 0.2


def test_options_given_in_line_do_not_name_the_folder(monkeypatch):
    assert str(parse(ImageExperiment, ["--config={n_train: [8]}"]).folder) == "results/compare"
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setenv("WANDB_RUN_ID", "run7")
    assert str(parse(ImageExperiment, ["--config={n_train: [8]}"]).folder) == "results/wandb_sweep_abc/run7"
    assert str(parse(ImageExperiment, ["--results", "x"]).folder) == "x"


def test_records_name_the_commit_that_the_process_started_with(tmp_path, monkeypatch):
    commits = iter(["started", "moved on", "moved on"])
    here = batch.provenance()
    monkeypatch.setattr(batch, "provenance", lambda: {**here, "git_commit": next(commits)})
    batch._origin.cache_clear()
    run_grid(tiny(seeds=[0]), tmp_path, console=QUIET)
    assert set(read_records(tmp_path)["git_commit"]) == {"started"}
    batch._origin.cache_clear()
