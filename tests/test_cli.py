"""The command line: a light front, LightningCLI behind it, clear errors."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from diffstab import __version__
from diffstab.cli import COMMANDS, commands, main
from diffstab.errors import DiffstabError, ResultsError
from diffstab.experiments.images import ImageExperiment
from diffstab.grid import command as grid_command
from diffstab.grid.options import Request
from diffstab.progress import Tally
from diffstab.results import flatten
from tests.references.toy_experiment import Toy

ROOT = Path(__file__).resolve().parents[1]
FIT_CONFIGS = sorted((ROOT / "configs" / "fit").glob("*.yaml"))
REGIMES = sorted((ROOT / "configs" / "regime").glob("*.yaml"))
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
SMALL = [*QUIET, "--trainer.max_epochs=2", "--model.net.init_args.hidden=[20]", "--data.init_args.n_test=50"]

pytestmark = [
    # Of Lightning's own use of jsonargparse.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
]


def fit(name, *options):
    return main(["fit", "--config", str(ROOT / "configs" / "fit" / f"{name}.yaml"), *SMALL, *options])


def test_help_lists_the_commands_and_imports_nothing_heavy():
    script = """
import sys
from diffstab.cli import main

code = main(["--help"])
heavy = {"torch", "numpy", "pandas", "pytorch_lightning", "wandb", "matplotlib", "jsonargparse"} & sys.modules.keys()
sys.exit(f"imported {heavy}" if heavy else code)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")
    for name, command in commands().items():
        assert f"  {name}" in answer.stdout
        assert command.summary in answer.stdout


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diffstab {__version__}\n"


@pytest.mark.parametrize("args", [[], ["bogus"], ["--bogus"]])
def test_an_unknown_command_is_refused(args, capsys):
    assert main(args) == 2
    assert "diffstab: error:" in capsys.readouterr().err


def test_own_commands_get_their_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr("diffstab.demo.main", lambda args: seen.append(args) or 0)
    assert main(["demo", "--results", "x", "--help"]) == 0
    assert seen == [["--results", "x", "--help"]]


@pytest.mark.parametrize("words", [["compare"], ["sphere", "curve"], ["plateau"], ["forces"]], ids=" ".join)
def test_commands_that_run_a_grid_parse_run_and_say_what_is_next(words, monkeypatch, capsys):
    seen = []

    def parsed(experiment, args):
        seen.append(experiment.name)
        return Request(Toy(), Path("results/toy"))

    monkeypatch.setattr(grid_command, "parse", parsed)
    monkeypatch.setattr(grid_command, "run_plan", lambda plan, folder, **options: Tally(1, done=1))
    assert main([*words, "--config", "x.yaml"]) == 0
    assert seen == [" ".join(words)]
    assert capsys.readouterr().out == "Results in results/toy. Next: diffstab report results/toy\n"


def test_report_prints_the_page(monkeypatch, capsys):
    monkeypatch.setattr("diffstab.report.page.write_report", lambda folder: Path(folder) / "index.html")
    assert main(["report", "results/x"]) == 0
    assert capsys.readouterr().out == "results/x/index.html\n"


def test_report_prints_what_the_page_says_as_json(monkeypatch, tmp_path, capsys):
    (tmp_path / "page.json").write_text('{"title": "x"}', encoding="utf-8")
    monkeypatch.setattr("diffstab.report.page.write_report", lambda folder: Path(folder) / "index.html")
    assert main(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"title": "x"}


def test_sphere_has_commands_of_its_own(capsys, tmp_path):
    assert main(["sphere", "field", "--dimension", "2", "--output", str(tmp_path / "field.png")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'field.png'}\n"
    assert (tmp_path / "field.png").read_bytes().startswith(b"\x89PNG")
    assert main(["sphere", "--help"]) == 0
    listing = capsys.readouterr().out
    assert all(f"  {name} " in listing for name in commands("sphere"))
    assert main(["sphere", "bogus"]) == 2
    assert "diffstab sphere: error:" in capsys.readouterr().err


def test_our_errors_are_one_line_and_status_2(monkeypatch, capsys):
    def fail(folder):
        raise ResultsError("The folder is damaged.")

    monkeypatch.delenv("DIFFSTAB_DEBUG", raising=False)
    monkeypatch.setattr("diffstab.report.page.write_report", fail)
    assert main(["report", "x"]) == 2
    assert capsys.readouterr().err == "diffstab: The folder is damaged.\n"
    monkeypatch.setenv("DIFFSTAB_DEBUG", "1")
    with pytest.raises(DiffstabError, match="damaged"):
        main(["report", "x"])


def failing(monkeypatch, place, args):
    run = ImageExperiment.run

    def fail(experiment, cell, *rest):
        if cell["method"] == "feature":
            raise RuntimeError("out of luck")
        return run(experiment, cell, *rest)

    monkeypatch.setattr(ImageExperiment, "run", fail)
    small = [
        "--n_train=[8]",
        "--seeds=[0]",
        "--stability.images=5",
        "--stability.bootstrap=0",
        f"--results={place}",
    ]
    return main(["compare", *small, *args])


def test_failed_runs_end_a_command_with_status_1(monkeypatch, tmp_path, capsys):
    assert failing(monkeypatch, tmp_path / "one", []) == 1
    told = capsys.readouterr().err
    assert "failed: n=8 seed=0 feature: RuntimeError: out of luck" in told
    assert "1 of 2 failed" in told.splitlines()[-1]
    assert len(list((tmp_path / "one" / "records").iterdir())) == 1
    monkeypatch.undo()
    assert (
        main(["compare", "--config", str(tmp_path / "one" / "config.yaml"), f"--results={tmp_path / 'one'}"])
        == 0
    )
    assert len(list((tmp_path / "one" / "records").iterdir())) == 2
    assert not list((tmp_path / "one" / "failures").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.bogus=3"], "unrecognized arguments: --model.bogus=3"),
        (["--model.optimiser.name=bogus"], "optimiser must be one of gradient_flow"),
        (["--model.net.init_args.dtype=bogus"], "dtype must name a torch type"),
        (["--model.net.init_args.hidden=[]"], "hidden must name at least one hidden layer"),
        (["--data.init_args.n_train=5000"], "n_train must be at most"),
        (
            ["--data.init_args.batch_size=8"],
            "data.batch_size must be null (the full batch) for gradient_flow",
        ),
        (["--config=nowhere.yaml"], "config must name a file"),
    ],
)
def test_a_bad_option_is_told_and_status_2(place, capsys, options, message):
    assert fit("digits_feature", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(place.rglob("*.ckpt"))


def test_an_unknown_option_in_yaml_is_told(place, capsys):
    config = {"include": str(FIT_CONFIGS[0]), "model": {"bogus": 3}}
    (place / "bad.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "bad.yaml"]) == 2
    assert "does not accept option 'model.bogus'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.data] if "digits" not in path.stem else [], id=path.stem)
        for path in FIT_CONFIGS
    ],
)
def test_every_fit_config_runs(place, request, path):
    if "digits" not in path.stem:
        request.getfixturevalue("data_root")
    assert path.read_text().startswith("# ")
    small = ["--data.init_args.n_train=20", "--data.init_args.n_test=20"]
    assert main(["fit", "--config", str(path), "--trainer.fast_dev_run=true", *small, *QUIET]) == 0


@pytest.mark.parametrize("path", REGIMES, ids=lambda path: path.stem)
def test_every_regime_overrides_a_fit_config(place, path):
    options = ["--model.net.init_args.dtype=float64", "--data.init_args.n_train=20", "--model.epoch_steps=1"]
    assert (
        fit(
            "digits_adam",
            "--data.init_args.batch_size=null",
            "--data.init_args.labels=parity",
            "--model.net.init_args.out_features=1",
            "--model",
            str(path),
            *options,
        )
        == 0
    )
    found = yaml.safe_load((place / "results" / "fit" / "version_0" / "config.yaml").read_text())["model"]
    asked = yaml.safe_load(path.read_text())
    assert {name: found[name] for name in ("alpha", "xi", "loss")} == {
        name: asked[name] for name in ("alpha", "xi", "loss")
    }
    assert found["optimiser"]["name"] == asked["optimiser"]["name"]
    assert found["net"]["init_args"]["hidden"] == [20]


def test_a_run_repeats_to_the_bit_from_its_resolved_config(place):
    run = place / "results" / "fit"
    assert fit("digits_adam", "--data.init_args.n_train=100") == 0
    assert main(["fit", "--config", str(run / "version_0" / "config.yaml")]) == 0
    weights = [
        torch.load(run / f"version_{number}" / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]
        for number in (0, 1)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    configs = [(run / f"version_{number}" / "config.yaml").read_text() for number in (0, 1)]
    assert configs[0] == configs[1]


def test_a_checkpoint_is_tested_and_predicts(place, capsys):
    assert fit("digits_feature", "--data.init_args.n_train=20") == 0
    run = place / "results" / "fit" / "version_0"
    shown = capsys.readouterr().out
    options = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run / "checkpoints" / "final.ckpt")]
    options = [*options, "--trainer.enable_progress_bar=false"]
    assert main(["test", *options]) == 0
    again = capsys.readouterr().out
    numbers = [
        {line.split()[0].split("_", 1)[1]: line.split()[1] for line in text.splitlines() if "_" in line}
        for text in (shown, again)
    ]
    assert numbers[0] == numbers[1]
    ends = {f"{name}_{end}" for name in "DGR" for end in ("low", "high")}
    assert {"loss", "error", "D", "G", "R", *ends} == numbers[0].keys()
    assert main(["predict", *options]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert np.load(path)["outputs"].shape == (50,)


def test_logged_keys_are_flags(place, capsys):
    assert fit("digits_adam") == 0
    config = yaml.safe_load((place / "results" / "fit" / "version_0" / "config.yaml").read_text())
    names = [name for name in flatten(config) if name.startswith(("model.", "data.", "trainer.", "seed"))]
    values = {name: flatten(config)[name] for name in names}
    flags = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    ]
    capsys.readouterr()
    assert main(["fit", *flags, "--print_config"]) == 0
    parsed = flatten(yaml.safe_load(capsys.readouterr().out))
    assert {name: parsed[name] for name in names} == values


def test_an_interrupted_command_says_so_in_one_line(monkeypatch, capsys):
    def stopped(name, args):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "demo", COMMANDS["demo"]._replace(run=stopped))
    assert main(["demo"]) == 130
    assert "interrupted; finished runs are recorded" in capsys.readouterr().err


def test_what_the_library_logs_is_a_line_for_the_user(monkeypatch, capsys):
    def tell(args):
        logging.getLogger("diffstab.grid").info("waiting for %s", "a job")

    monkeypatch.setattr("diffstab.demo.main", tell)
    before = list(logging.getLogger("diffstab").handlers)
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == "waiting for a job\n"
    assert logging.getLogger("diffstab").handlers == before


def ended(signum):
    os.kill(os.getpid(), signum)


def ended_as_lightning_does(signum):
    try:
        ended(signum)
    except KeyboardInterrupt:
        raise SystemExit(1) from None


@pytest.mark.parametrize("end", [ended, ended_as_lightning_does])
def test_sigterm_is_told_in_one_line_and_status_143(end, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(
        COMMANDS, "demo", COMMANDS["demo"]._replace(run=lambda name, args: end(signal.SIGTERM))
    )
    assert main(["demo"]) == 143
    told = capsys.readouterr().err
    assert told.startswith("diffstab: terminated; finished runs are recorded")
    assert told.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == before
