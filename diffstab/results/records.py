"""Records of runs in a folder, loose and packed, and a tidy frame of all of them."""

import io
import os
import re
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffstab.errors import ArgumentError, ResultsError
from diffstab.results.atomic import write_atomically
from diffstab.results.claims import held, is_held
from diffstab.results.failures import Failure, read_failures, write_failure
from diffstab.results.packs import (
    PACK_ROWS,
    PackedRows,
    as_table,
    gather,
    in_order,
    packed_keys,
    read_loose,
    read_pack,
    write_packs,
)

_KEY = re.compile(r"\w[\w.-]*", re.ASCII)
_FEW = 100
_ORIGIN = ("streams", "versions", "key")
_SUFFIX = {"records": ".parquet", "packs": ".parquet", "claims": ".lock", "failures": ".json"}
Found = TypeVar("Found")


class Records:
    """The records of a folder, one row per run; many processes and machines may write, read and pack at once.

    `records/<key>.parquet` holds one record, `packs/<hash>.parquet` many, `failures/<key>.json` why a run has none, and
    `claims/<key>.lock` is there while a run is under way. A loose record counts before a packed one of its key.

    Args:
        folder: The results folder; nothing is made before something is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def has(self, key: str) -> bool:
        """Whether the run has a record; an empty file, as a crash of the machine leaves it, is none."""
        # Loose before packed: a record that is being packed is in the pack before its own file goes.
        return _has_content(self._path("records", key)) or any(key in keys for keys in self._packed())

    def keys(self) -> set[str]:
        """Return the keys of all records."""
        # Loose before packed, as in `has`.
        loose = set(self._keys("records", empty=False))
        return loose.union(*self._packed())

    def streams(self) -> int | None:
        """Return the version of the random streams that drew the records, as the first one has it.

        Records that know the packages they were made with, and no version of the streams, are older than it: 1. None
        if there is no record, or it says nothing of where it comes from or is damaged.
        """
        try:
            table = self._steadily(lambda: self._listing()[:1], lambda paths: self._table(paths, _ORIGIN))
        except ResultsError:  # none, or damaged: who reads them all says so
            return None
        row = table.to_pylist()[0]
        return int(row["streams"]) if row.get("streams") is not None else 1 if row.get("versions") else None

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys without a record, in their order."""
        asked = list(keys)
        if len(asked) <= _FEW:  # a batch of a large grid lists none of its other records
            return [key for key in asked if not self.has(key)]
        there = self.keys()
        return [key for key in asked if key not in there]

    def write(self, key: str, row: Mapping[str, object]) -> Path:
        """Write a run's record in one step, replacing an earlier one; `key` becomes a column of it.

        A failure of the run is forgotten.

        Args:
            key: Name of the run.
            row: Column names and values: strings, numbers, booleans, None, and lists, arrays or tensors of them.

        Returns:
            The path of the record.

        Raises:
            ArgumentError: If the key is no file name or a value has no column type.
            ResultsError: If the disk refuses; the records that are there stay intact.
        """
        buffer = io.BytesIO()
        # With checksums a flipped bit is found when the record is read, not only a missing end.
        pq.write_table(_one_row({**row, "key": key}), buffer, write_page_checksum=True)
        path = write_atomically(self._path("records", key, make=True), buffer.getvalue())
        self.forget([key])
        return path

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the records, one row per run in the order of their keys.

        Columns that some records lack or leave empty are filled with missing values.

        Args:
            columns: The columns to read, in this order; None reads all.

        Raises:
            ArgumentError: If no record has one of the columns.
            ResultsError: If there is no record, a record is damaged, or two records disagree on a column's type.
        """
        wanted = None if columns is None else list({*columns, "key"})
        table = self._steadily(self._listing, lambda paths: self._table(paths, wanted))
        if columns is None:
            return cast("pd.DataFrame", table.to_pandas())
        unknown = [name for name in columns if name not in table.column_names]
        if unknown:
            raise ArgumentError("columns", "be columns of the records", ", ".join(unknown))
        return cast("pd.DataFrame", table.select(list(columns)).to_pandas())

    def remove(self, keys: Iterable[str]) -> None:
        """Remove records, packed ones too.

        Args:
            keys: Names of runs; those without a record are passed over.

        Raises:
            ResultsError: If the records are being packed at this moment, or the disk refuses.
        """
        gone = set(keys)
        with self._packing() as alone:
            if not alone:
                message = f"The records of {self.folder} are being packed by another process."
                raise ResultsError(f"{message} Start again when it has ended.")
            for path in self._packs():
                if packed_keys(path) & gone:
                    rows = gather([read_pack(path)], self.folder)
                    kept = [key not in gone for key in rows.table["key"].to_pylist()]
                    new = write_packs(
                        PackedRows(rows.table.filter(pa.array(kept)), rows.layouts), path.parent
                    )
                    self._delete([path], but=new)
            self._delete(self._path("records", key) for key in gone)

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Return a context manager of whether this caller now holds the run, alone among all threads and processes.

        It is held until the context or the process ends. Ask `has` once more inside: another one may have finished it
        just before.

        Args:
            key: Name of the run.

        Raises:
            ArgumentError: If the key is no file name.
            ResultsError: On entry, if the folder cannot be written.
        """
        return self._held(self._path("claims", key, make=True))

    def claimed(self) -> set[str]:
        """Return the keys of the runs that somebody holds now."""
        return {key for key in self._keys("claims") if is_held(self._path("claims", key))}

    def fail(self, key: str, failure: Failure) -> Path:
        """Remember why a run has no record, instead of an earlier failure.

        Raises:
            ArgumentError: If the key is no file name.
            ResultsError: If the disk refuses.
        """
        return write_failure(self._path("failures", key, make=True), failure)

    def failures(self, keys: Iterable[str] | None = None) -> dict[str, Failure]:
        """Return the failures of the runs without a record, by their keys.

        Args:
            keys: Only of these runs; None for all.

        Raises:
            ResultsError: If the note of a failure is damaged.
        """
        noted = self._keys("failures") if keys is None else keys
        return read_failures(self._path("failures", key) for key in self.missing(noted))

    def forget(self, keys: Iterable[str]) -> None:
        """Forget failures; runs that did not fail are passed over.

        Raises:
            ResultsError: If the disk refuses.
        """
        self._delete(self._path("failures", key) for key in keys)

    def pack(self, *, at_least: int = 1) -> int:
        """Gather the loose records into packs, while others read and write.

        At whatever moment it is killed, each record is still there, and read once. Packs that are not full are
        rewritten together with the loose records; so are those that hold an earlier record of one of them.

        Args:
            at_least: Number of loose records from which on it is worth while.

        Returns:
            Number of loose records that are now packed; 0 if there are fewer, or another process packs just now.

        Raises:
            ResultsError: If a record is damaged, two records disagree on a column's type, or the disk refuses; the
                records are then as they were.
        """
        if len(self._keys("records")) < at_least:
            return 0
        with self._packing() as alone:
            loose = {path: path.stat() for path in self._loose()} if alone else {}
            if not loose:
                return 0
            self._tidy()
            keys = {path.stem for path in loose}
            old = [path for path in self._packs() if _is_open(path, keys)]
            parts = [*map(read_loose, loose), *map(read_pack, old)]
            new = write_packs(gather(parts, self.folder), self._made("packs"))
            self._delete(old, but=new)
            # The loose ones go last: as long as an outdated pack may be there, they are what counts.
            self._delete(path for path, seen in loose.items() if _is_unchanged(path, seen))
            return len(loose)

    def _tidy(self) -> None:
        """Remove what killed processes left: half-written packs, and locks of runs that have a record."""
        # Only who packs writes packs, so nobody is at work on a draft; nobody claims a run with a record for long.
        self._delete((self.folder / "packs").glob(".*.tmp"))
        there = self.keys()
        for key in self._keys("claims"):
            if key in there:
                with self.claim(key):
                    pass

    def _table(self, paths: Sequence[Path], columns: Sequence[str] | None) -> pa.Table:
        if not paths:
            commands = (
                f"`diffstab compare`, `sphere curve`, `plateau` or `forces`, with --results {self.folder}"
            )
            raise ResultsError(f"{self.folder} holds no records. Make some first: {commands}.")
        loose = [read_loose(path, columns) for path in paths if path.parent.name == "records"]
        packed = [read_pack(path, columns) for path in paths if path.parent.name == "packs"]
        return as_table(gather([*loose, *in_order(packed)], self.folder), self.folder)

    def _packed(self) -> list[frozenset[str]]:
        return self._steadily(self._packs, lambda packs: [packed_keys(path) for path in packs])

    def _steadily(self, listing: Callable[[], list[Path]], look: Callable[[list[Path]], Found]) -> Found:
        """Return what a look at listed files finds; look again if some were packed, and so removed, meanwhile."""
        paths = listing()
        while True:
            try:
                return look(paths)
            except FileNotFoundError as error:
                before, paths = paths, listing()
                if paths == before:
                    message = f"A file of {self.folder} cannot be read ({error})."
                    raise ResultsError(
                        f"{message} Put a good copy back, or remove what has that name."
                    ) from error

    def _listing(self) -> list[Path]:
        """The files of all records: those of one first, as they count before those that are packed."""
        return [*self._loose(), *self._packs()]

    def _loose(self) -> list[Path]:
        return [self.folder / "records" / f"{key}.parquet" for key in self._keys("records")]

    def _packs(self) -> list[Path]:
        return [self.folder / "packs" / f"{name}.parquet" for name in self._keys("packs")]

    def _keys(self, room: str, *, empty: bool = True) -> list[str]:
        """Return the names of a subfolder's files in their order, without the hidden drafts of writers."""
        try:
            with os.scandir(self.folder / room) as entries:
                names = [entry.name for entry in entries if empty or _has_content(entry)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            message = f"Cannot list {self.folder / room}: {error.strerror}."
            raise ResultsError(f"{message} Mend the permissions, then start again.") from error
        suffix = _SUFFIX[room]
        return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix) and name[0] != ".")

    def _path(self, room: str, key: str, *, make: bool = False) -> Path:
        if not _KEY.fullmatch(key):
            raise ArgumentError("key", "be letters, digits, '.', '_' or '-'", repr(key))
        folder = self._made(room) if make else self.folder / room
        return folder / f"{key}{_SUFFIX[room]}"

    def _made(self, room: str) -> Path:
        try:
            (self.folder / room).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"Cannot make the results folder {self.folder}: {error.strerror}."
            raise ResultsError(f"{message} Choose another results folder.") from error
        return self.folder / room

    def _packing(self) -> AbstractContextManager[bool]:
        return self._held(self._made("claims") / ".packing")

    @contextmanager
    def _held(self, path: Path) -> Iterator[bool]:
        with ExitStack() as stack:
            try:
                mine = stack.enter_context(held(path))
            except OSError as error:
                message = f"Cannot lock {path}: {error.strerror}."
                raise ResultsError(f"{message} Free space or permissions, then start again.") from error
            yield mine

    def _delete(self, paths: Iterable[Path], *, but: Container[Path] = ()) -> None:
        for path in paths:
            try:
                if path not in but:
                    path.unlink(missing_ok=True)
            except OSError as error:
                message = f"Cannot remove {path}: {error.strerror}."
                raise ResultsError(f"{message} Mend the permissions, then start again.") from error


def read_records(folder: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the records of a results folder; see `Records.read`."""
    return Records(folder).read(columns)


def _is_open(pack: Path, keys: Set[str]) -> bool:
    there = packed_keys(pack)
    return len(there) < PACK_ROWS or not there.isdisjoint(keys)


def _has_content(file: Path | os.DirEntry[str]) -> bool:
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size > 0 and stat.S_ISREG(found.st_mode)


def _is_unchanged(path: Path, seen: os.stat_result) -> bool:
    """Whether nobody wrote the record anew since it was looked at: each writing makes another file of it."""
    now = path.stat()
    return os.path.samestat(now, seen) and now.st_mtime_ns == seen.st_mtime_ns


def _one_row(row: Mapping[str, object]) -> pa.Table:
    columns = {}
    for name, value in row.items():
        listed = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(listed, Mapping):
            raise ArgumentError(name, "be a value or a list of values", "a mapping", "Write it as JSON.")
        try:
            columns[name] = pa.array([listed])
        except pa.ArrowException as error:
            raise ArgumentError(name, "be a value or a list of values of one kind", repr(value)) from error
    return pa.table(columns)
