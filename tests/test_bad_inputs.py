"""Bad inputs of every command: status 2, one line on standard error that says what, and no file written."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffstab.cli import main
from diffstab.errors import ResultsError
from diffstab.results import Records

LONG = "x" * 300
FIT = ["fit", "--config", "fit/digits_adam.yaml"]

FILES = {
    "binary.yaml": b"\x00\x01\xff\xfe",
    "latin.yaml": b"\xe9t\xe9: 1\n",
    "empty.yaml": b"",
    "list.yaml": b"- 1\n",
    "text.yaml": b"words\n",
    "broken.yaml": b"a: [1\n",
    "twice.yaml": b"seeds: [0]\nn_train: [8]\nseeds: [1]\n",
    "label.yaml": b"methods:\n  a: {alpha: 1e-3}\n  a: {alpha: 1}\n",
    "numbers.yaml": b"1: 2\n",
    "unknown.yaml": b"data: {class_path: no.such.Thing}\n",
    "function.yaml": b"data: {class_path: os.path.join}\n",
    "option.yaml": b"data: {class_path: datamodules.Digits, init_args: {nope: 3}}\n",
    "swept.yaml": b"method: grid\nparameters:\n  seeds: {value: 0}\n  seeds: {value: 1}\n",
}

CASES = [
    (["compare", "--config", "binary.yaml"], "config must be YAML, got binary.yaml"),
    (["compare", "--config", "latin.yaml"], "latin.yaml, byte 0: no text in UTF-8"),
    (["compare", "--config", "empty.yaml"], "file of options by name, got empty.yaml (an empty file)"),
    (["compare", "--config", "list.yaml"], "list.yaml (list)"),
    (["compare", "--config", "text.yaml"], "text.yaml (str)"),
    (["compare", "--config", "broken.yaml"], "broken.yaml, line 2, column 1"),
    (
        ["compare", "--config", "twice.yaml"],
        "twice.yaml, line 3, column 1: the key 'seeds' is there already",
    ),
    (
        ["compare", "--config", "label.yaml"],
        "label.yaml, line 3, column 3: the key 'a' is there already, in line 2",
    ),
    (["compare", "--config", "numbers.yaml"], "Key must be a string"),
    (["compare", "--config", "unknown.yaml"], "No module named 'no'"),
    (["compare", "--config", "function.yaml"], "os.path.join does not correspond to a subclass"),
    (["compare", "--config", "option.yaml"], "Option 'nope' is not accepted"),
    (["compare", "--config", "folder"], "Path is not a file"),
    (["compare", "--config", "nowhere.yaml"], "nowhere.yaml"),
    (["compare", "--config", f"{LONG}.yaml"], "File name too long"),
    (["compare", "--net={hidden: [3], hidden: [4]}"], "the key 'hidden' is there already"),
    (["compare", "--data=null"], "data must name a class by class_path, got null"),
    (["compare", "--data.class_path=datamodules.Nope"], "has no attribute 'Nope'"),
    (["compare", "--seeds=abc"], "Expected a list. Got value: abc"),
    (["compare", f"--seeds=[{10**25}]"], "seeds must lie below 2^63 in size"),
    (["compare", "--seeds=[0]", "--n_train=[8]", "--results", LONG], "File name too long"),
    ([*FIT, "--model", "binary.yaml"], "model must be YAML, got binary.yaml"),
    ([*FIT, "--data.init_args.n_train=-3"], "n_train must be an integer of at least 1, got -3"),
    ([*FIT, "--seed_everything=-1"], "seed_everything must lie between 0 and 4294967295, got -1"),
    ([*FIT, f"--seed_everything={10**25}"], "seed_everything must lie between 0 and"),
    ([*FIT, "--trainer.logger=no.Such"], "No module named 'no'"),
    (["fit", "--config", "twice.yaml"], "the key 'seeds' is there already"),
    (["test", "--config", "list.yaml"], "list.yaml (list)"),
    (["predict", "--config", "folder"], "Path is not a file"),
    (["sphere", "fit", "--config", "binary.yaml"], "binary.yaml"),
    (["sphere", "curve", "--config", "latin.yaml"], "latin.yaml"),
    (["sphere", "field", "--output", "x.xyz"], "output must end in .png, .pdf, .svg, got x.xyz"),
    (["sphere", "field", "--output", "folder"], "output must end in"),
    (
        ["sphere", "field", "--output", "no/such/x.png"],
        "in a folder that is there, got no/such/x.png. Make no/such",
    ),
    (["sphere", "field", "--output", f"{LONG}.png", "--dimension", "2"], "File name too long"),
    (["sphere", "field", "--seed", str(10**25)], "seed must be at least 0 and below 2^63"),
    (["plateau", "--config", "binary.yaml"], "binary.yaml"),
    (["forces", "--config", "list.yaml"], "list.yaml (list)"),
    (["report", LONG], "File name too long"),
    (["report", "nowhere"], "nowhere holds no records"),
    (["figure", "nothing"], "name must be one of overview"),
    (["figure", "overview", "nowhere"], "nowhere holds no records"),
    (["figure", "spectra"], "RESULTS must name the folders that spectra is drawn from"),
    (["sweep", "binary.yaml"], "sweep file must be YAML, got binary.yaml, byte 2: no text in UTF-8"),
    (["sweep", "swept.yaml"], "swept.yaml, line 4, column 3: the key 'seeds' is there already, in line 3"),
    (["sweep", "folder"], "folder (Is a directory)"),
    (["sweep", "status", LONG], "File name too long"),
    (["sweep", "status", "compared"], "No grid was started in compared"),
    (["sweep", "status", "listed"], "cells.parquet is damaged"),
    (["import-wandb", "folder", "--results", "r"], "folder holds no run of W&B"),
    (["import-wandb", LONG, "--results", "r"], "File name too long"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of bad files and of results folders that do not fit."""
    place = tmp_path_factory.mktemp("inputs")
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    (place / "folder").mkdir()
    row = {"dataset": "digits", "method": "feature", "n_train": 8, "seed": 0, "D": 0.5}
    for name, config in (("compared", "seeds: [0]"), ("listed", "seeds: [0]")):
        Records(place / name).write("a", row)
        (place / name / "config.yaml").write_text(config)
    cells = pa.table({"key": ["a"], "batch": [0], "label": ["one"], "coordinates": ["[1]"]})
    pq.write_table(cells, place / "listed" / "cells.parquet")
    return place


def files(place):
    return {path for path in place.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
@pytest.mark.parametrize(
    ("args", "message"), CASES, ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else ""
)
def test_a_bad_input_is_told_in_a_line_and_writes_nothing(args, message, inputs, place, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    before = files(inputs)
    assert main(args) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert files(inputs) == before


PACKS = {
    "list": {"layouts": b"[1]"},
    "bytes": {"layouts": b"\xff"},
    "none": {"layouts": b"{}"},
    "schema": {"layouts": b'{"a": "AAAA"}'},
    "keyless": {"drop": "key"},
    "cut": {"share": 0.5},
    "empty": {"share": 0.0},
}


@pytest.mark.parametrize(("name", "damage"), list(PACKS.items()))
def test_a_damaged_pack_is_told(name, damage, tmp_path, capsys):
    records = Records(tmp_path / name)
    records.write("a", {"dataset": "digits", "method": "feature", "n_train": 8, "seed": 0})
    records.pack()
    (path,) = (records.folder / "packs").iterdir()
    table = pq.read_table(path)
    if "layouts" in damage:
        table = table.replace_schema_metadata({b"diffstab.layouts": damage["layouts"]})
    if "drop" in damage:
        table = table.drop_columns(damage["drop"])
    pq.write_table(table, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * damage.get("share", 1))])
    # Known packs are remembered by their names, which say their content.
    shutil.move(path, path.with_name("0123456789abcdef.parquet"))
    assert main(["report", str(records.folder)]) == 2
    told = capsys.readouterr().err
    assert "pack of records" in told
    assert "is damaged" in told
    assert told.count("\n") == 1


STACK = np.zeros((2, 1, 6, 6))


@pytest.mark.parametrize(
    "changed",
    [
        {"images": np.zeros((2, 3))},
        {"deformed": STACK[:1]},
        {"delta_px": np.zeros(7)},
        {"delta_px": np.array(["a", "b"])},
        {"images": np.array(["a", "b"])},
        {"images": np.float64(3)},
        dict.fromkeys(("images", "deformed", "noisy"), STACK[:0]),
        dict.fromkeys(("images", "deformed", "noisy"), STACK.astype(complex)),
    ],
)
def test_examples_of_other_shapes_are_told(changed, tmp_path):
    from diffstab.report.special.examples import read_examples

    arrays = {"images": STACK, "deformed": STACK, "noisy": STACK, "delta_px": np.ones(2)}
    np.savez(tmp_path / "good.npz", **arrays)
    assert read_examples(tmp_path / "good.npz").keys() == arrays.keys()
    np.savez(tmp_path / "bad.npz", **(arrays | changed))
    with pytest.raises(ResultsError, match=r"bad\.npz does not hold the arrays images"):
        read_examples(tmp_path / "bad.npz")


def test_debugging_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSTAB_DEBUG", "1")
    with pytest.raises(ResultsError, match="File name too long"):
        main(["report", LONG])
