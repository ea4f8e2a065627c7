"""One Parquet file per run, and a tidy frame of all of them."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.results.atomic import write_atomically
from diffstab.results.hashing import canonical_json, config_hash, flatten, plain

GRID_KEYS = ("n_train", "seeds", "methods")
_KEY = re.compile(r"\w[\w.-]*", re.ASCII)


class RecordStore:
    """A results folder: `config.yaml`, and `records/<key>.parquet` with one record per run.

    A run is named by the hash of the configuration outside its grid together with its cell, so a larger grid
    keeps the records that are there. Many processes may write to one store.

    Args:
        folder: The results folder; made with its configuration, or opened.
        config: Resolved configuration of all runs, of plain values.
        grid_keys: Dotted keys of the configuration that may grow from one start to the next. Their latest values
            are the ones in `config.yaml`.

    Raises:
        ArgumentError: If the configuration holds a value that is not plain.
        ResultsError: If the folder belongs to another configuration (nothing is touched), is damaged, or cannot
            be written.
    """

    def __init__(
        self, folder: str | Path, config: Mapping[str, object], *, grid_keys: Sequence[str] = GRID_KEYS
    ) -> None:
        self.folder = Path(folder)
        self.config = cast("dict[str, object]", plain(config))
        leaves = flatten(self.config).items()
        self._fixed = {name: value for name, value in leaves if not _is_under(name, grid_keys)}
        self._open(grid_keys)

    def key(self, cell: Mapping[str, object]) -> str:
        """Return the name of a run: the hash of the fixed configuration and its cell (seed, method, n_train)."""
        return config_hash({"config": self._fixed, "cell": cell})

    def has(self, key: str) -> bool:
        """Whether the run has a record."""
        return self._path(key).is_file()

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys without a record, in their order."""
        return [key for key in keys if not self.has(key)]

    def write(self, key: str, row: Mapping[str, object]) -> Path:
        """Write a run's record in one step, replacing an earlier one; `key` becomes a column of it.

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
        return write_atomically(self._path(key), buffer.getvalue())

    def read(self) -> pd.DataFrame:
        """Return all records; see `read_records`."""
        return read_records(self.folder)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ArgumentError("key", "be letters, digits, '.', '_' or '-'", repr(key))
        return self.folder / "records" / f"{key}.parquet"

    def _open(self, grid_keys: Sequence[str]) -> None:
        path = self.folder / "config.yaml"
        if path.exists():
            stored = _stored_config(path)
            self._refuse_other(stored, grid_keys)
            if canonical_json(stored) == canonical_json(self.config):
                return
        elif any((self.folder / "records").glob("*.parquet")):
            message = f"{self.folder} holds records but no config.yaml."
            raise ResultsError(f"{message} Put its config.yaml back, or choose another results folder.")
        try:
            (self.folder / "records").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"Cannot make the results folder {self.folder}: {error.strerror}."
            raise ResultsError(f"{message} Choose another results folder.") from error
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        write_atomically(path, text.encode())

    def _refuse_other(self, stored: Mapping[str, object], grid_keys: Sequence[str]) -> None:
        there = {name: value for name, value in flatten(stored).items() if not _is_under(name, grid_keys)}
        names = sorted(there.keys() | self._fixed.keys())
        differences = [
            f"{name} ({_shown(there, name)} there, {_shown(self._fixed, name)} now)"
            for name in names
            if _shown(there, name) != _shown(self._fixed, name)
        ]
        if differences:
            message = f"{self.folder} holds results of another configuration; it differs in {'; '.join(differences)}."
            raise ResultsError(f"{message} Choose another results folder, or give the same configuration.")


def read_records(folder: str | Path) -> pd.DataFrame:
    """Return the records of a results folder, one row per run in the order of their keys.

    Columns that some records lack or leave empty are filled with missing values.

    Args:
        folder: The results folder.

    Raises:
        ResultsError: If there is no record, a record is damaged, or two records disagree on a column's type.
    """
    paths = sorted((Path(folder) / "records").glob("*.parquet"))
    if not paths:
        commands = f"`diffstab compare`, `sphere curve`, `plateau` or `forces`, with --results {folder}"
        raise ResultsError(f"{folder} holds no records. Make some first: {commands}.")
    tables = [_read_one(path) for path in paths]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        message = f"The records of {folder} do not fit together: {error}."
        raise ResultsError(f"{message} Remove those of the other kind, and start again.") from error
    return cast("pd.DataFrame", table.to_pandas())


def _read_one(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        message = f"The record {path} is damaged ({error})."
        raise ResultsError(
            f"{message} Remove this file and start the same command again: it fills the gap."
        ) from error


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


def _stored_config(path: Path) -> Mapping[str, object]:
    try:
        config = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        config = error
    if not isinstance(config, Mapping):
        raise ResultsError(f"{path} is damaged. Put a good copy back, or choose another results folder.")
    return config


def _is_under(name: str, grid_keys: Sequence[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in grid_keys)


def _shown(leaves: Mapping[str, object], name: str) -> str:
    return canonical_json(leaves[name]) if name in leaves else "nothing"
