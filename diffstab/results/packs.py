"""Many records in one Parquet file, read back as if each had its own.

A pack holds the rows of its records in the order of their keys, in the columns of all of them, and for each row the
name of its layout: the columns and types that its own file had. So the frame of any selection of packed and loose
records is the one that their own files give, in order of columns and types too.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from diffstab.errors import ResultsError
from diffstab.results.atomic import write_atomically

PACK_ROWS = 2**16
"""Records in a pack that is full: later ones go into another."""
LAYOUT = "_layout"
_UNREAD = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?[0-9]*\.[0-9]*[eE][0-9]+")
"""Numbers that YAML 1.1 takes for text: without a point, or without a sign in the exponent."""
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LAYOUTS = b"diffstab.layouts"
_FORMAT = ds.ParquetFileFormat(
    # With checksums a flipped bit is found when the record is read, not only a missing end.
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


class PackedRows(NamedTuple):
    """Records with the columns that their own files have.

    Attributes:
        table: The rows, with the column `LAYOUT`.
        layouts: Schema of each layout.
    """

    table: pa.Table
    layouts: Mapping[str, pa.Schema]


def read_loose(path: Path, columns: Sequence[str] | None = None) -> PackedRows:
    """Read the file of one record.

    Raises:
        ResultsError: If it is damaged.
        FileNotFoundError: If it is gone.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table, layout = file.read(columns).replace_schema_metadata(), file.schema_arrow.remove_metadata()
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise _damaged_record(path, error) from error
    if "key" not in table.column_names:  # written by other means: the file's name is the key
        table = table.append_column("key", _repeated(path.stem, len(table)))
    if not len(table) or not _is_text(table["key"].type) or table["key"].null_count:
        raise _damaged_record(path, "it names no run")
    name = _layout_name(layout)
    return PackedRows(table.append_column(LAYOUT, _repeated(name, len(table))), {name: layout})


def read_pack(path: Path, columns: Sequence[str] | None = None) -> PackedRows:
    """Read a pack.

    Raises:
        ResultsError: If it is damaged.
        FileNotFoundError: If it is gone.
    """
    try:
        fragment = _FORMAT.make_fragment(str(path), filesystem=LocalFileSystem())
        schema = fragment.physical_schema
        there = None if columns is None else [name for name in (*columns, LAYOUT) if name in schema.names]
        table = fragment.to_table(columns=there).replace_schema_metadata()
        stored = json.loads(schema.metadata[_LAYOUTS])
        rows = PackedRows(table, {name: _schema(text) for name, text in stored.items()})
        _check_pack(rows)
        return rows
    except FileNotFoundError:
        raise
    # Whatever is in the file's own list of layouts.
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"The pack of records {path} is damaged ({error})."
        way_out = (
            "Put a good copy back, or remove this file and start the same command again: it fills the gaps."
        )
        raise ResultsError(f"{message} {way_out}") from error


def _damaged_record(path: Path, reason: object) -> ResultsError:
    message = f"The record {path} is damaged ({reason})."
    return ResultsError(f"{message} Remove this file and start the same command again: it fills the gap.")


def _check_pack(rows: PackedRows) -> None:
    """Raise ValueError where a pack lacks the names of its runs, or a layout that it speaks of."""
    keys = rows.table["key"]
    if not len(keys) or not _is_text(keys.type) or keys.null_count:
        raise ValueError("it names no runs")
    if unknown := set(rows.table[LAYOUT].unique().to_pylist()) - rows.layouts.keys():
        raise ValueError(f"it lacks the layouts {unknown}")


# A pack is named by its content, so its keys never change.
@lru_cache(maxsize=256)
def packed_keys(path: Path) -> frozenset[str]:
    """Return the keys of a pack; see `read_pack`."""
    return frozenset(read_pack(path, ["key"]).table["key"].to_pylist())


def in_order(packs: Iterable[PackedRows]) -> list[PackedRows]:
    """Return packs in the order of their first keys: `gather` then moves no row if each ends before the next begins."""
    return sorted(packs, key=lambda rows: str(rows.table["key"][0]))


def gather(parts: Iterable[PackedRows], folder: Path) -> PackedRows:
    """Return the rows of all parts in the order of their keys; of rows with one key the first stays.

    Args:
        parts: At least one, each with the column `key`.
        folder: The results folder, for the message.

    Raises:
        ResultsError: If two records disagree on a column's type.
    """
    parts = _with_numbers(list(parts))
    try:
        table = pa.concat_tables([part.table for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise _unlike(folder, error) from error
    keys, first = np.unique(table["key"].to_numpy().astype(object), return_index=True)
    if len(keys) < len(table) or (np.diff(first) < 0).any():
        table = table.take(first)
    return PackedRows(table, {name: layout for part in parts for name, layout in part.layouts.items()})


def _with_numbers(parts: Sequence[PackedRows]) -> list[PackedRows]:
    """Return parts with the columns as numbers that are numbers in one part and text that stands for them in others.

    Options such as 1e-6 were once kept as text. Other text beside numbers, 007 say, is not one of them.
    """
    kinds: dict[str, set[bool]] = {}
    for part in parts:
        for field in part.table.schema:
            if _is_text(field.type) or _is_number(field.type):
                kinds.setdefault(field.name, set()).add(_is_number(field.type))
    both = {name for name, found in kinds.items() if len(found) > 1}
    texts = {name: [text for part in parts for text in _texts(part.table, name)] for name in both}
    for name in sorted(name for name in both if were_numbers(texts[name])):
        parts = [_with_number(part, name) for part in parts]
    return list(parts)


def were_numbers(texts: Iterable[str | None]) -> bool:
    """Whether texts are numbers of which an earlier version took some for text, and kept the others as JSON."""
    found = [_bare(text) for text in texts if text is not None]
    return any(map(_UNREAD.fullmatch, found)) and all(map(_NUMBER.fullmatch, found))


def _bare(text: str) -> str:
    return text.removeprefix('"').removesuffix('"')


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))  # pandas writes the other one


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _texts(table: pa.Table, name: str) -> list[str | None]:
    place = table.schema.get_field_index(name)
    is_text = place >= 0 and _is_text(table.schema.field(place).type)
    return cast("list[str | None]", table[name].to_pylist()) if is_text else []


def _with_number(part: PackedRows, name: str) -> PackedRows:
    table = part.table
    if texts := _texts(table, name):
        values = pa.array([None if text is None else float(_bare(text)) for text in texts], pa.float64())
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return PackedRows(
        table, {label: _schema_with_number(schema, name) for label, schema in part.layouts.items()}
    )


def _schema_with_number(schema: pa.Schema, name: str) -> pa.Schema:
    place = schema.get_field_index(name)
    if place < 0 or not _is_text(schema.field(place).type):
        return schema
    return schema.set(place, schema.field(place).with_type(pa.float64()))


def as_table(rows: PackedRows, folder: Path) -> pa.Table:
    """Return the rows in the columns and types that their own files, put together, have.

    Args:
        rows: As `gather` returns them.
        folder: The results folder, for the message.

    Raises:
        ResultsError: If two records disagree on a column's type.
    """
    layouts = [rows.layouts[name] for name in rows.table[LAYOUT].unique().to_pylist()]
    try:
        schema = pa.unify_schemas(layouts, promote_options="permissive")
    except pa.ArrowException as error:
        raise _unlike(folder, error) from error
    fields = [field for field in schema if field.name in rows.table.column_names]
    return pa.table({field.name: _typed(rows.table[field.name], field.type) for field in fields})


def write_packs(rows: PackedRows, folder: Path) -> list[Path]:
    """Write rows into packs, each in one step, and return their paths.

    Args:
        rows: As `gather` returns them.
        folder: The folder of the packs.

    Raises:
        ResultsError: If the disk refuses.
    """
    starts = range(0, len(rows.table), PACK_ROWS)
    return [_write_pack(rows.table.slice(start, PACK_ROWS), rows.layouts, folder) for start in starts]


def _write_pack(table: pa.Table, layouts: Mapping[str, pa.Schema], folder: Path) -> Path:
    used = sorted(table[LAYOUT].unique().to_pylist())
    texts = {name: base64.b64encode(layouts[name].serialize()).decode() for name in used}
    table = table.replace_schema_metadata({_LAYOUTS: json.dumps(texts)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    data = buffer.getvalue()
    return write_atomically(folder / f"{hashlib.sha256(data).hexdigest()[:16]}.parquet", data)


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if column.null_count == len(column) or pa.types.is_nested(kind):
        # Arrow casts nothing to the type of nulls, which lists that are all empty are made of.
        return pa.chunked_array([pa.array(column.to_pylist(), kind)])
    return column.cast(kind)


def _repeated(text: str, count: int) -> pa.Array:
    return pa.array([text] * count, pa.string())


def _layout_name(schema: pa.Schema) -> str:
    return hashlib.sha256(schema.serialize()).hexdigest()[:16]


def _schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def _unlike(folder: Path, error: Exception) -> ResultsError:
    message = f"The records of {folder} do not fit together: {error}."
    return ResultsError(f"{message} Remove those of the other kind, and start again.")
