"""`diffstab measure`: records, tables, page, going on, and its command line."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffstab import measure_command
from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.experiments.measure import MeasureExperiment, image_tables
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.report import rendering
from diffstab.results import read_records

SOURCE = """
from torch import nn

COUNT = 0


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(6 * 16, 2)

    def forward(self, x):
        global COUNT
        COUNT += len(x)
        return self.head(self.second(self.first(x)).flatten(1))
"""


@pytest.fixture
def there(place, monkeypatch):
    """A folder with a model's code and a folder of images of two classes."""
    (place / "theirs_of_measure.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(place))
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (place / "photos" / name).mkdir(parents=True)
        for number in range(12):
            coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((8, 8), Image.Resampling.BICUBIC).save(place / "photos" / name / f"{number}.png")
    return place


@pytest.fixture(autouse=True)
def only_svg(monkeypatch):
    """PNG and PDF of a figure take most of the time of a page."""
    save = rendering._saved
    monkeypatch.setattr(rendering, "_saved", lambda *args: save(*args) if args[1] == "svg" else b"\x89PNG")


ONE = ["--model", "theirs_of_measure:Net", "--data", "photos", "--accelerator", "cpu"]
GRID = [*ONE, "--deltas", "0.2px", "0.4px", "--cutoffs", "2,3", "--layers", "first", "--results", "out"]


def test_a_record_for_each_model_deformation_and_layer_and_a_page(there, capsys):
    assert main(["measure", *GRID, "--model", "wide=theirs_of_measure:Net", "--rotations", "5"]) == 0
    records = read_records("out")
    assert len(records) == 2 * (2 * 2 + 1) * 2
    assert set(records["model"]) == {"Net", "wide"}
    assert set(records["layer"]) == {"first", "output"}
    assert len(records[["model", "deformation", "cutoff", "layer"]].drop_duplicates()) == len(records)
    assert (records["R_low"] < records["R"]).all()
    assert (records["R"] < records["R_high"]).all()
    assert records["weights_hash"].str.len().eq(16).all()
    text = capsys.readouterr().out
    assert "Net, δ = 0.2 px, c = 2, 24 images of photos, accuracy" in text
    assert "Net against wide: R differs by" in text
    page = (there / "out" / "report" / "index.html").read_text()
    for heading in ("Models compared", "Over displacement and cut-off", "The images", "How it was measured"):
        assert f"{heading}</h2>" in page
    assert "For a methods section" in page


def test_a_table_of_the_images_as_parquet_and_csv(there, capsys):
    main(["measure", *GRID])
    frame = image_tables(there / "out")["Net"]
    assert len(frame) == 24 * 4
    (path,) = (there / "out" / "tables").glob("*.csv")
    table = pd.read_csv(path)
    np.testing.assert_allclose(table["D_i"], frame["D_i"])
    assert set(table["class"]) == {"cat", "dog"}
    assert table["path"].str.contains("photos/").all()
    outputs = read_records("out").query("layer == 'output'").set_index(["deformation", "cutoff"])
    for key, part in table.groupby(["deformation", "cutoff"]):
        assert part["D_i"].mean() == pytest.approx(outputs.loc[key, "D"])


def test_the_same_command_goes_on_and_measures_nothing_again(there, capsys):
    import theirs_of_measure

    main(["measure", *GRID])
    first = read_records("out")
    theirs_of_measure.COUNT = 0
    main(["measure", *GRID])
    assert theirs_of_measure.COUNT < 20  # it is loaded, and looked at
    pd.testing.assert_frame_equal(read_records("out"), first)
    main(["measure", *GRID, "--deltas", "0.3px"])
    assert len(read_records("out")) == len(first) * 3 // 2


def test_json_holds_the_rows(there, capsys):
    main(["measure", *ONE, "--layers", "output", "--json"])
    content = json.loads(capsys.readouterr().out)
    (row,) = content["rows"]
    assert row["layer"] == "output"
    assert row["R_low"] < row["R"] < row["R_high"]
    assert content["page"].endswith("index.html")


def test_a_dry_run_tells_time_and_memory_and_makes_nothing(there, capsys):
    main(["measure", *GRID, "--dry-run"])
    text = capsys.readouterr().out
    assert "24 images, " in text
    assert "layers first, output" in text
    assert not (there / "out").exists()


def test_a_page_is_made_again_without_the_model(there, monkeypatch, capsys):
    main(["measure", *GRID])
    monkeypatch.setattr(MeasureExperiment, "ready", lambda *_: pytest.fail("the model was loaded"))
    (there / "out" / "report" / "index.html").unlink()
    assert main(["report", "out"]) == 0
    assert (there / "out" / "report" / "index.html").exists()


def test_options_given_once_count_for_all_models_else_for_each():
    args = ["--model", "a:A", "--model", "a:B", "--mean", "0.5", "--weights", "x.pt", "--weights", "none"]
    models = parse(MeasureExperiment, _flags([*args, "--init-args", "{depth: 20}"])).experiment.models
    assert models == {
        "A": {"model": "a:A", "weights": "x.pt", "init_args": {"depth": 20}, "mean": [0.5]},
        "B": {"model": "a:B", "init_args": {"depth": 20}, "mean": [0.5]},
    }
    same = _flags(["--model", "a:A", "--model", "a:A", "--weights", "x/one.pt", "--weights", "two.pt"])
    assert list(parse(MeasureExperiment, same).experiment.models) == ["one", "two"]
    with pytest.raises(
        ArgumentError, match="--weights must be given once, or for each of 3 models, got 2 times"
    ):
        _flags([*["--model", "a:A"] * 3, *["--weights", "x"] * 2])


def _flags(args):
    return measure_command._flags(measure_command._parser().parse_args(args))


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ([], "model must be given"),
        (["--model", "theirs_of_measure:Net"], "data must be given"),
        (["--model", "nothing:Net", "--data", "photos"], "model must be importable"),
        ([*ONE, "--layers", "no*"], r"no\*"),
        ([*ONE, "--deltas", "1mm"], "deltas must be a number above 0"),
        ([*ONE, "--until", "500%"], "until must be a share between 0 and 1"),
        ([*ONE, "--init"], "init must go with models that have weights"),
        ([*ONE, "--protocol", "7"], "protocol must be 1 or 2021"),
        ([*ONE, "--classes", "cat", "bird"], "classes must name every class of the data, got dog"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_line_and_makes_nothing(there, args, match, capsys):
    import re

    assert main(["measure", *args]) == 2
    message = capsys.readouterr().err
    assert re.search(match, message)
    assert len(message.strip().splitlines()) == 1
    assert not (there / "results").exists()


def test_a_protocol_is_written_down_with_what_it_fixes(there, capsys):
    main(["measure", *ONE, "--protocol", "2021", "--layers", "output", "--deltas", "7px", "--results", "out"])
    (row,) = read_records("out").to_dict("records")
    assert (row["protocol"], row["deformation"], row["cutoff"], row["statistic"]) == (
        "2021",
        "1px",
        5,
        "median",
    )
    assert "protocol 2021" in (there / "out" / "report" / "index.html").read_text()


def test_initial_weights_stand_beside_the_trained_ones(there, capsys):
    import torch
    from theirs_of_measure import Net

    torch.save({name: 2 * value for name, value in Net().state_dict().items()}, "net.pt")
    main(["measure", *ONE, "--weights", "net.pt", "--init", "--layers", "output", "--results", "out"])
    records = read_records("out").set_index("model")
    assert set(records.index) == {"Net", "Net (untrained)"}
    assert records.loc["Net", "weights_hash"] != records.loc["Net (untrained)", "weights_hash"]


def test_another_model_of_the_same_label_has_records_of_its_own(there):
    def keys(width):
        models = {"net": {"model": "theirs_of_measure:Net", "init_args": {"width": width}}}
        experiment = MeasureExperiment(models=models, data="photos", layers=["output"], accelerator="cpu")
        return {experiment.key(cell) for cell in experiment.settled().cells()}

    assert keys(4).isdisjoint(keys(5))


def test_a_sweep_takes_it_as_any_experiment(there):
    options = ["--models", json.dumps({"net": {"model": "theirs_of_measure:Net"}}), "--data=photos"]
    request = parse(MeasureExperiment, [*options, "--accelerator=cpu", "--layers=[output]", "--results=out"])
    run_grid(request.experiment, request.folder)
    assert len(read_records("out")) == 1


def test_outputs_alone_stand_side_by_side(there):
    """Of one layer there is no depth to draw: the models are what is compared."""
    models = ["--model", "narrow=theirs_of_measure:Net", "--model", "wide=theirs_of_measure:Net"]
    sizes = ["--init-args", "{width: 4}", "--init-args", "{width: 8}"]
    rest = ["--data", "photos", "--accelerator", "cpu", "--layers", "output", "--results", "outputs"]
    assert main(["measure", *models, *sizes, *rest]) == 0
    page = (there / "outputs" / "report" / "index.html").read_text()
    assert "The output of the models" in page
    assert "narrow: R = " in page
    assert "wide: R = " in page


def test_the_page_names_the_confidence_of_its_intervals(there, capsys):
    words = ["--confidence", "0.8", "--layers", "first", "--results", "out"]
    assert main(["measure", *ONE, "--deltas", "0.4px", *words]) == 0
    page = (there / "out" / "report" / "index.html").read_text().replace("\xa0", " ")
    assert "80 % interval" in page
    assert "80 % bootstrap intervals" in page
    assert "95 %" not in page
