"""A store of records: keys, continuing, damage, types."""

import errno
import math
import os
import pickle

import numpy as np
import pytest
import torch
import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.results import Records, RecordStore, read_records, record_key

CONFIG = {"data": {"name": "digits"}, "alpha": 1e-6, "n_train": [32, 64], "seeds": 3}
CELL = {"n_train": 32, "seed": 0, "method": "feature"}


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path / "results", CONFIG)


def test_a_record_comes_back(store):
    key = store.key(CELL)
    path = store.write(key, {**CELL, "D": 0.5, "stop_reason": None, "neurons_x": [1.0, 2.0]})
    assert path == store.folder / "records" / f"{key}.parquet"
    (row,) = store.read().to_dict("records")
    assert row["key"] == key
    assert {name: row[name] for name in CELL} == CELL
    assert row["D"] == 0.5
    assert row["stop_reason"] is None
    np.testing.assert_array_equal(row["neurons_x"], [1.0, 2.0])


def test_scalars_arrays_and_tensors_become_plain_columns(store):
    row = {
        "numpy": np.float64(0.25),
        "tensor": torch.tensor(0.5),
        "array": np.arange(3.0),
        "vector": torch.ones(2),
        "count": np.int64(3),
        "flag": np.bool_(True),
    }
    store.write("a", row)
    frame = store.read()
    assert dict(frame.dtypes.astype("str"))["numpy"] == "float64"
    assert frame["tensor"].item() == 0.5
    assert frame["count"].dtype == "int64"
    assert frame["flag"].item() is True
    np.testing.assert_array_equal(frame["vector"].item(), [1.0, 1.0])


def test_columns_unify_over_records(store):
    store.write("a", {"D": 1.5, "time": None, "x": [1.0], "steps": 3, "note": "text"})
    store.write("b", {"D": math.nan, "time": 2.5, "x": None, "steps": 4.5, "note": None})
    store.write("c", {"D": None, "time": 1, "x": [], "steps": 5, "extra": 1.0})
    frame = store.read()
    assert list(frame["key"]) == ["a", "b", "c"]
    assert [str(frame[name].dtype) for name in ("D", "time", "steps", "extra")] == ["float64"] * 4
    assert list(frame["steps"]) == [3, 4.5, 5]
    assert list(frame["D"].isna()) == [False, True, True]
    assert frame["note"].isna().tolist() == [False, True, True]
    assert [None if x is None else list(x) for x in frame["x"]] == [[1.0], None, []]


def test_missing_keeps_the_order(store):
    keys = [store.key({**CELL, "seed": seed}) for seed in range(4)]
    store.write(keys[2], CELL)
    assert store.missing(keys) == [keys[0], keys[1], keys[3]]
    assert store.has(keys[2])
    assert not store.has(keys[0])


def test_a_larger_grid_continues_and_keeps_its_keys(store):
    wider = RecordStore(store.folder, {**CONFIG, "n_train": [32, 64, 128], "seeds": 5})
    assert wider.key(CELL) == store.key(CELL)
    assert yaml.safe_load((store.folder / "config.yaml").read_text())["n_train"] == [32, 64, 128]


def test_keys_tell_cells_and_configurations_apart(store, tmp_path):
    other = RecordStore(tmp_path / "other", {**CONFIG, "alpha": 1e-5})
    cells = [CELL, {**CELL, "seed": 1}, {**CELL, "method": "lazy"}, {**CELL, "n_train": 64}]
    assert len({place.key(cell) for place in (store, other) for cell in cells}) == 8


def test_the_key_of_a_run_is_the_same_in_every_folder_and_grid(store):
    for config in (CONFIG, {**CONFIG, "seeds": 7, "n_train": [32]}, {**CONFIG, "n_train": {"a": 1}}):
        assert record_key(config, CELL, grid_keys=("n_train", "seeds")) == store.key(CELL)
    assert record_key(CONFIG, CELL, grid_keys=("seeds",)) != store.key(CELL)
    with pytest.raises(ArgumentError, match=r"config\.x must be a string, number"):
        record_key({"x": {1}}, CELL, grid_keys=())


def test_grid_keys_may_be_dotted(tmp_path):
    config = {"data": {"n_train": 1, "name": "digits"}}
    RecordStore(tmp_path, config, grid_keys=("data.n_train",))
    RecordStore(tmp_path, {"data": {"n_train": 2, "name": "digits"}}, grid_keys=("data.n_train",))
    with pytest.raises(ResultsError, match=r"data\.name"):
        RecordStore(tmp_path, {"data": {"n_train": 2, "name": "mnist"}}, grid_keys=("data.n_train",))


def test_another_configuration_is_refused_and_nothing_touched(store):
    store.write(store.key(CELL), CELL)
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    message = r'data\.name \("digits" there, "mnist" now\); depth \(nothing there, 2 now\)\. Choose another'
    with pytest.raises(ResultsError, match=message):
        RecordStore(store.folder, {**CONFIG, "data": {"name": "mnist"}, "depth": 2})
    assert before == {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}


def test_the_same_numbers_written_otherwise_are_the_same_configuration(store):
    RecordStore(store.folder, {**CONFIG, "alpha": 0.000001, "seeds": 3.0})


def test_a_damaged_config_is_named(store):
    (store.folder / "config.yaml").write_text("[")
    with pytest.raises(ResultsError, match=r"config\.yaml is damaged \(line 2.*\)\. Put a good copy back"):
        RecordStore(store.folder, CONFIG)


def test_records_without_their_config_are_not_adopted(store):
    store.write("a", CELL)
    (store.folder / "config.yaml").unlink()
    with pytest.raises(ResultsError, match=r"holds records but no config\.yaml"):
        RecordStore(store.folder, CONFIG)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="Cannot make the results folder"):
        RecordStore(tmp_path / "file" / "results", CONFIG)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_record_is_named(store, damage):
    store.write("good", {"x": 1.0})
    path = store.write("bad", {"x": [float(i) for i in range(1000)]})
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes({"truncated": data[: len(data) // 2], "flipped": data, "empty": b""}[damage])
    with pytest.raises(ResultsError, match=r"record .*bad\.parquet is damaged .*Remove this file"):
        store.read()


@pytest.mark.parametrize("many", [1, 200])
def test_an_empty_file_is_no_record_and_is_written_anew(store, many):
    path = store.write("bad", {"x": 1.0})
    path.write_bytes(b"")
    others = [f"other{index}" for index in range(many - 1)]
    assert store.missing(["bad", *others]) == ["bad", *others]
    assert not store.has("bad")
    assert store.keys() == set()
    store.write("bad", {"x": 2.0})
    assert store.read()["x"].tolist() == [2.0]
    assert store.missing(["bad"]) == []


def test_drafts_of_a_killed_writer_are_no_records(store):
    store.write("a", {"x": 1.0})
    (store.folder / "records" / ".b.parquet.12-ab.tmp").write_bytes(b"half")
    assert list(store.read()["key"]) == ["a"]


def test_records_of_two_kinds_are_refused(store):
    store.write("a", {"x": 1.0})
    store.write("b", {"x": [1.0]})
    with pytest.raises(ResultsError, match=r"do not fit together: .*x.*Remove those of the other kind"):
        store.read()


VALUES = {
    "text": ["resnet", "", "1e-6", "007", "nan", "ünï\ncode", None],
    "whole": [0, -3, 2**53 + 1, 7, 2**62, -(2**62), 1],
    "real": [0.1, 1e-300, -0.0, 5e-324, 1.7976931348623157e308, 3.0, None],
    "truth": [True, False, None, True, True, False, None],
    "listed": [[1.5], [], [0.1, 2.0], None, [3.0], [1e-6], []],
    "words": [["a"], [], ["b", ""], None, ["c"], [], []],
    "nothing": [None] * 7,
}


@pytest.mark.parametrize("packed", [False, True])
def test_values_come_back_as_they_were(store, packed):
    for index in range(7):
        store.write(f"k{index}", {name: values[index] for name, values in VALUES.items()})
    if packed:
        store.pack()
    frame = store.read()
    for name, values in VALUES.items():
        found = [value.tolist() if hasattr(value, "tolist") else value for value in frame[name]]
        found = [None if isinstance(value, float) and math.isnan(value) else value for value in found]
        assert [(type(value), value) for value in found if value is not None] == [
            (type(value), value) for value in values if value is not None
        ]
        assert [value is None for value in found] == [value is None for value in values]


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_that_were_once_kept_as_text_fit_to_numbers(store, packed):
    for key, value in (("a", "1e-6"), ("b", '"1e5"'), ("c", "0.1"), ("d", None)):
        store.write(key, {"penalty": value})
    if packed:
        store.pack()
    assert store.read(["penalty"])["penalty"].tolist()[0] == "1e-6"
    store.write("e", {"penalty": 0.5})
    assert store.read(["penalty"])["penalty"].tolist()[:3] == [1e-6, 1e5, 0.1]
    assert store.pack() > 0
    assert store.read(["penalty"])["penalty"].tolist()[4] == 0.5


def test_other_text_does_not_fit_to_numbers(store):
    store.write("a", {"x": "007"})
    store.write("b", {"x": 7})
    with pytest.raises(ResultsError, match=r"do not fit together: .*x"):
        store.read()


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_no_records(tmp_path, folder):
    assert Records(tmp_path / folder).missing(["a"]) == ["a"]
    with pytest.raises(
        ResultsError, match=r"holds no records\. Make some first: `diffstab compare`, .* --results"
    ):
        read_records(tmp_path / folder)


def test_a_full_disk_leaves_earlier_records_intact(store, monkeypatch):
    store.write("a", {"x": 1.0})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        store.write("b", {"x": 2.0})
    monkeypatch.undo()
    assert list(store.read()["key"]) == ["a"]
    assert store.missing(["a", "b"]) == ["b"]


@pytest.mark.parametrize("key", ["", "../a", "a/b", ".a"])
def test_a_key_is_a_file_name(store, key):
    with pytest.raises(ArgumentError, match="key must be letters, digits"):
        store.write(key, {})


def test_values_without_a_column_type(store):
    with pytest.raises(
        ArgumentError, match=r"config must be a value or a list of values, got a mapping.*JSON"
    ):
        store.write("a", {"config": {"b": 1}})
    with pytest.raises(ArgumentError, match="x must be a value or a list of values of one kind"):
        store.write("a", {"x": [1.0, "b"]})


def test_a_store_travels_to_other_processes(store):
    pickle.loads(pickle.dumps(store)).write("a", {"x": 1.0})
    assert store.has("a")
