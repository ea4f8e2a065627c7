"""Time to read many packed records against one Parquet file per record, and to list which runs are missing.

Baseline, in the same run: the same columns, each record in a file of its own, read one after another and put together;
per record, because the files of 100,000 would take minutes to make. Targets: 100,000 packed records are listed and read
in less than 2 s each.

    python -m benchmarks.bench_records                    # 100,000 packed, 1,000 loose
    python -m benchmarks.bench_records --packed 10000     # quick look
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffstab.results import Records, config_hash, provenance
from diffstab.results.packs import LAYOUT, gather, packed_keys, read_loose, write_packs

TARGET_S = 2.0
ORIGIN = provenance()


def record(seed: int) -> dict[str, object]:
    """A record as wide as those of `diffstab compare`: 40 scalars, among them the configuration and the versions."""
    rng = np.random.default_rng(seed)
    config = {f"part{index}": {"class_path": "datamodules.Digits", "size": index} for index in range(25)}
    feature = seed % 2 == 0
    return {
        "kind": "compare",
        "dataset": "digits",
        "method": "feature" if feature else "lazy",
        "n_train": 2 ** (seed % 10),
        "seed": seed,
        **{f"number_{index}": float(value) for index, value in enumerate(rng.normal(size=24))},
        "stop_reason": "margin" if feature else None,
        "steps": seed if feature else None,
        "converged": feature,
        "wall_seconds": float(rng.exponential()),
        "started_at": "2026-01-01T00:00:00+00:00",
        "config": json.dumps({**config, "cell": {"seed": seed}}),
        **ORIGIN,
        "key": config_hash({"seed": seed}),
    }


def write_loose(folder: Path, count: int) -> None:
    (folder / "records").mkdir(parents=True)
    for seed in range(count):
        row = record(seed)
        table = pa.table({name: pa.array([value]) for name, value in row.items()})
        # Without waiting for the disk, which `Records.write` does: making the files is not what is measured.
        pq.write_table(table, folder / "records" / f"{row['key']}.parquet", write_page_checksum=True)


def write_packed(folder: Path, count: int) -> None:
    """Make packs of as many records as asked for, from few files: all rows with the two layouts that these have."""
    (folder / "packs").mkdir(parents=True)
    write_loose(folder / "few", 2)
    layouts = [read_loose(folder / "few" / "records" / f"{record(seed)['key']}.parquet") for seed in range(2)]
    parts = []
    for first, layout in enumerate(layouts):
        (name,) = layout.layouts
        rows = [record(seed) for seed in range(first, count, 2)]
        table = pa.Table.from_pylist(rows, schema=layout.layouts[name])
        column = layout.table[LAYOUT]
        parts.append(layout._replace(table=table.append_column(LAYOUT, [column.to_pylist() * len(rows)])))
    write_packs(gather(parts, folder), folder / "packs")


def one_file_per_record(folder: Path) -> pd.DataFrame:
    tables = []
    for path in sorted((folder / "records").glob("*.parquet")):
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            tables.append(file.read())
    return pa.concat_tables(tables, promote_options="permissive").to_pandas()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fresh_missing(folder: Path, keys: list[str]) -> None:
    """As a process that starts does it: nothing is remembered of the packs."""
    packed_keys.cache_clear()
    assert not Records(folder).missing(keys)


def report(folder: Path, packed: int, loose: int, repeats: int) -> None:
    write_packed(folder / "packed", packed)
    write_loose(folder / "loose", loose)
    many, few = Records(folder / "packed"), Records(folder / "loose")
    assert len(many.read(["seed"])) == packed
    keys = [config_hash({"seed": seed}) for seed in range(packed)]
    cases: dict[str, tuple[int, Callable[[], object]]] = {
        "baseline, one file per record": (loose, lambda: one_file_per_record(few.folder)),
        "read, loose": (loose, few.read),
        "read, packed": (packed, many.read),
        "read three columns, packed": (packed, lambda: many.read(["seed", "n_train", "number_0"])),
        "missing, packed, fresh": (packed, lambda: fresh_missing(many.folder, keys)),
        "missing, packed, again": (packed, lambda: many.missing(keys)),
    }
    size = sum(path.stat().st_size for path in (many.folder / "packs").iterdir())
    print(f"{packed} records in packs of {size / 1e6:.0f} MB, {loose} loose; {len(record(0))} columns")
    print(f"{ORIGIN['git_commit']} {ORIGIN['hardware']}")
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):  # round robin, so that a busy machine slows all cases alike
        for name, (_, work) in cases.items():
            times[name].append(seconds(work))
    base = statistics.median(times["baseline, one file per record"]) / loose
    for name, (count, _) in cases.items():
        median = statistics.median(times[name])
        spread = f"({min(times[name]):.2f} to {max(times[name]):.2f})"
        target = f", target {TARGET_S}" if "packed" in name else ""
        ratio = base / (median / count)
        print(
            f"{name:30s} {median:6.2f} s {spread}{target}; per record {ratio:8.1f} x as fast as the baseline"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packed", type=int, default=100_000)
    parser.add_argument("--loose", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), arguments.packed, arguments.loose, arguments.repeats)


if __name__ == "__main__":
    main()
