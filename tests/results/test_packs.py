"""Packed records read as loose ones do, whatever goes on meanwhile."""

import errno
import os
import shutil
import threading

import pandas as pd
import pyarrow.dataset as ds
import pytest

import diffstab.results.packs as packs
import diffstab.results.records as room
from diffstab.errors import ArgumentError, ResultsError
from diffstab.results import Records, RecordStore
from tests.results.conftest import ROWS, assert_same, files


def loose_frame(folder, rows):
    """What the same records give when each has its own file."""
    records = Records(folder)
    for key, row in rows.items():
        records.write(key, row)
    return records.read()


def test_packed_records_read_as_loose_ones(records):
    before = records.read()
    assert records.pack() == 5
    assert files(records, "records") == []
    assert len(files(records, "packs")) == 1
    assert_same(records.read(), before)
    assert records.pack() == 0


def test_few_records_stay_loose(records):
    assert records.pack(at_least=6) == 0
    assert len(files(records, "records")) == 5
    assert records.pack(at_least=5) == 5


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_the_order_of_packing_does_not_show(tmp_path, first):
    """Records packed in two turns, the later ones before the earlier, and one left loose."""
    keys = list(ROWS)
    records = Records(tmp_path / "results")
    for turn in (keys[first:4], keys[:first]):
        for key in turn:
            records.write(key, ROWS[key])
        records.pack()
    records.write("e", ROWS["e"])
    assert_same(records.read(), loose_frame(tmp_path / "loose", ROWS))


def test_full_packs_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "PACK_ROWS", 2)
    monkeypatch.setattr(room, "PACK_ROWS", 2)
    records = Records(tmp_path / "results")
    kept = set()
    for key in ROWS:
        records.write(key, ROWS[key])
        records.pack()
        assert kept <= set(files(records, "packs"))
        kept = {
            name
            for name in files(records, "packs")
            if len(packs.packed_keys(records.folder / "packs" / name)) == 2
        }
    assert len(files(records, "packs")) == 3
    assert_same(records.read(), loose_frame(tmp_path / "loose", ROWS))


def test_keys_are_found_in_packs_and_beside_them(records):
    records.pack()
    records.write("f", {"x": 1})
    assert records.keys() == {*ROWS, "f"}
    assert records.missing(["z", "a", "y", "f"]) == ["z", "y"]
    assert records.has("a")
    assert records.has("f")
    assert not records.has("z")


def test_nothing_is_asked_of_the_disk_for_each_key(records, monkeypatch):
    records.pack()
    records.keys()
    many = [f"z{number}" for number in range(1000)]
    monkeypatch.setattr(packs, "read_pack", None)
    with monkeypatch.context() as patched:
        patched.setattr(type(records.folder), "is_file", None)
        assert records.missing([*ROWS, *many]) == many
    # Nor is a large folder listed for a few keys.
    monkeypatch.setattr(records, "keys", None)
    monkeypatch.setattr(records, "_loose", None)
    assert records.missing([*ROWS, "z"]) == ["z"]


def test_a_record_written_anew_counts_before_the_packed_one(records, tmp_path, monkeypatch):
    newer = {**ROWS, "b": {"method": "lazy", "D": 7}}
    expected = loose_frame(tmp_path / "loose", newer)
    records.pack()
    records.write("b", newer["b"])
    assert_same(records.read(), expected)
    # Also when the pack that holds the earlier one is full.
    monkeypatch.setattr(room, "PACK_ROWS", 5)
    records.pack()
    assert_same(records.read(), expected)
    assert len(files(records, "packs")) == 1


def test_chosen_columns(records):
    wanted = ["stop", "key", "D"]
    expected = records.read()[wanted]
    for _ in range(2):
        assert_same(records.read(wanted), expected)
        assert list(records.read(["steps"])) == ["steps"]
        with pytest.raises(ArgumentError, match="columns must be columns of the records, got R, x"):
            records.read(["D", "R", "x"])
        records.pack()


@pytest.mark.parametrize("gone", [["a"], ["c", "z"], ["a", "b", "c", "d"], ["e", "b"]])
def test_removed_records_leave_what_the_others_give(records, tmp_path, gone):
    records.pack()
    records.write("f", {"x": 1})
    rows = {key: row for key, row in {**ROWS, "f": {"x": 1}}.items() if key not in gone}
    records.remove(gone)
    assert records.keys() == set(rows)
    assert_same(records.read(), loose_frame(tmp_path / "loose", rows))


def test_all_can_be_removed(records):
    records.pack()
    records.write("f", {"x": 1})
    records.remove(records.keys())
    assert records.keys() == set()
    assert files(records, "packs") == files(records, "records") == []


def test_removing_waits_for_no_packing(records):
    with records._packing():
        assert records.pack() == 0
        with pytest.raises(ResultsError, match=r"are being packed by another process.*Start again when"):
            records.remove(["a"])
    assert records.keys() == set(ROWS)


def test_a_reader_looks_again_when_records_were_packed_meanwhile(records, monkeypatch):
    expected = records.read()
    read_loose = room.read_loose

    def pack_first(path, columns=None):
        monkeypatch.setattr(room, "read_loose", read_loose)
        records.pack()
        return read_loose(path, columns)

    monkeypatch.setattr(room, "read_loose", pack_first)
    assert_same(records.read(), expected)
    assert files(records, "records") == []


def test_a_file_that_is_listed_but_not_there(records):
    (records.folder / "records" / "z.parquet").symlink_to("nowhere")
    with pytest.raises(ResultsError, match=r"cannot be read .*z\.parquet.*Put a good copy back"):
        records.read()


def test_a_record_written_while_it_is_packed_stays(records, monkeypatch):
    write_packs = room.write_packs

    def write_first(rows, folder):
        records.write("b", {"D": 7.5})
        return write_packs(rows, folder)

    monkeypatch.setattr(room, "write_packs", write_first)
    records.pack()
    assert files(records, "records") == ["b.parquet"]
    assert records.read().set_index("key")["D"]["b"] == 7.5


def test_readers_writers_and_packers_at_once(tmp_path):
    records, written, errors = Records(tmp_path / "results"), [], []
    stop = threading.Event()

    def write():
        for number in range(60):
            records.write(f"k{number:02d}", {"number": number})
            written.append(number)
        stop.set()

    def pack():
        while not stop.is_set():
            records.pack()

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (write, pack, pack)]
    for thread in threads:
        thread.start()
    while not stop.is_set():
        before = len(written)
        if before:
            numbers = records.read()["number"].tolist()
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= before
            assert not records.missing(f"k{number:02d}" for number in range(before))
    for thread in threads:
        thread.join()
    assert errors == []
    assert records.read()["number"].tolist() == list(range(60))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_pack_is_named(records, damage):
    records.pack()
    (path,) = (records.folder / "packs").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 8] ^= 1
    if damage == "foreign":
        pd.DataFrame({"key": ["a"]}).to_parquet(path)
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "flipped": data, "empty": b""}[damage])
    with pytest.raises(ResultsError, match=rf"pack of records .*{path.name} is damaged .*it fills the gaps"):
        records.read()


def test_a_full_disk_while_packing_leaves_the_records(records, monkeypatch):
    before = records.read()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        records.pack()
    monkeypatch.undo()
    assert files(records, "records") == [f"{key}.parquet" for key in ROWS]
    assert files(records, "packs") == files(records, "claims") == []
    assert_same(records.read(), before)


def test_a_damaged_record_is_not_packed(records):
    path = records.folder / "records" / "b.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultsError, match=r"record .*b\.parquet is damaged"):
        records.pack()
    assert records.keys() == set(ROWS)
    assert len(files(records, "records")) == 5


def test_records_of_two_kinds_are_not_packed(records):
    records.write("f", {"D": [1.0]})
    with pytest.raises(ResultsError, match=r"do not fit together: .*D.*Remove those of the other kind"):
        records.pack()
    assert len(files(records, "records")) == 6
    # Packed before the other kind came, they are refused when read.
    records.remove(["f"])
    records.pack()
    records.write("f", {"D": [1.0]})
    with pytest.raises(ResultsError, match="do not fit together"):
        records.read()
    records.remove(["f"])
    assert records.keys() == set(ROWS)


def test_records_written_by_other_means(tmp_path):
    """A file of pandas, without a key: its name is the key, and no column appears."""
    (tmp_path / "records").mkdir()
    for number in range(3):
        pd.DataFrame({"x": [number]}).to_parquet(tmp_path / "records" / f"{number:04d}.parquet")
    records = Records(tmp_path)
    for _ in range(2):
        assert_same(records.read(), pd.DataFrame({"x": [0, 1, 2]}))
        assert records.keys() == {"0000", "0001", "0002"}
        records.pack()
    assert files(records, "records") == []


def test_a_copy_of_a_record_is_not_counted_twice(records):
    """As the synchronisation of folders makes them."""
    expected = records.read()
    shutil.copy(records.folder / "records" / "a.parquet", records.folder / "records" / "a (copy).parquet")
    assert_same(records.read(), expected)
    records.pack()
    assert_same(records.read(), expected)


def test_a_store_whose_records_are_all_packed_still_asks_for_its_config(tmp_path):
    store = RecordStore(tmp_path, {"alpha": 1})
    store.write("a", {"x": 1})
    store.pack()
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(ResultsError, match=r"holds records but no config\.yaml"):
        RecordStore(tmp_path, {"alpha": 1})


def test_a_pack_is_a_plain_parquet_file(records):
    """Other tools read it too, as a dataset: the columns of all records, and the layout of each."""
    records.pack()
    table = ds.dataset(records.folder / "packs").to_table(columns=["key", "steps"])
    assert table.to_pydict() == {"key": list(ROWS), "steps": [3.0, None, 4.5, None, None]}


def test_a_folder_that_cannot_be_listed(records, monkeypatch):
    def refuse(path):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(room.os, "scandir", refuse)
    with pytest.raises(ResultsError, match=r"Cannot list .*records: Permission denied"):
        records.keys()
    monkeypatch.undo()
