"""A made-up results folder: numbers with a known law, so that a report of them can be checked."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffstab.report import plateaus
from diffstab.results import read_records
from tests.references import sphere_curves
from tests.references.plateau_records import write_plateau_records

METHODS = {"feature": "feature", "lazy_exact": "lazy"}


def record(rng: np.random.Generator, dataset: str, n_train: int, seed: int, method: str) -> dict[str, object]:
    lazy = method.startswith("lazy")
    draw = np.random.default_rng(1000 * n_train + seed).normal()
    error = (0.30 if lazy else 0.34) * (n_train / 32) ** -0.3 * (1 + 0.08 * draw + 0.02 * rng.normal())
    noise = 0.5 * (n_train / 32) ** -0.2 * (1 + 0.05 * rng.normal())
    relative = (0.6 if lazy else 1.7) * (1 + 0.05 * rng.normal())
    row: dict[str, object] = {"dataset": dataset, "n_train": n_train, "seed": seed, "method": method}
    row |= {"regime": METHODS[method], "test_error": error, "train_error": 0.0, "margin_share": 0.99}
    row |= {
        "steps": 0 if lazy else 900 + 10 * seed,
        "flow_time": np.nan if lazy else 3.5,
        "stop_reason": "margin",
    }
    row |= {"train_seconds": 0.2 if lazy else 8.1, "D": relative * noise, "G": noise, "R": relative}
    for name in ("D", "G", "R"):
        value = float(row[name])
        row |= {f"{name}_low": 0.9 * value, f"{name}_high": 1.1 * value, f"{name}_median": 0.97 * value}
        row[f"init_{name}"] = np.nan if lazy else {"D": 0.62, "G": 0.6, "R": 1.03}[name]
    row |= {
        "delta_px": 1.0,
        "measured_delta_px": 0.96,
        "temperature": 0.0015,
        "cutoff": 3,
        "folded_share": 0.0,
    }
    final = {"n_atoms": 14, "effective_neurons": 11.2, "stable_rank": 2.4, "nearest_angle_deg": 3.0}
    initial = {"n_atoms": 100, "effective_neurons": 74.0, "stable_rank": 31.0, "nearest_angle_deg": 80.0}
    for name in final:
        row |= {name: np.nan if lazy else final[name], f"init_{name}": np.nan if lazy else initial[name]}
    if not lazy:
        start, angle = rng.normal(size=(2, 100)), rng.integers(0, 7, 100)
        radius = rng.gamma(1.0, 3.0, 100)
        picture = (radius * np.cos(angle), radius * np.sin(angle), radius**2)
        before = (*start, np.hypot(*start))
        for axis, new, old in zip(("x", "y", "mass"), picture, before):
            row |= {f"neurons_{axis}": new.tolist(), f"init_neurons_{axis}": old.tolist()}
    row |= {"key": f"{dataset}-{n_train}-{seed}-{method}", "config": "{}", "git_commit": "0123456789abcdef"}
    row |= {
        "git_dirty": False,
        "versions": json.dumps({"torch": "2.15.0", "numpy": "2.4.6"}),
        "hardware": "2 x86 cores",
    }
    return row | {"started_at": f"2026-11-21T04:{seed:02d}:00+00:00", "wall_seconds": 9.0}


@pytest.fixture(scope="session")
def make_records() -> Callable[..., pd.DataFrame]:
    """Records of a full grid."""

    def make(
        sizes: Sequence[int] = (32, 128, 512),
        seeds: Sequence[int] = (0, 1, 2, 3, 4),
        datasets: Sequence[str] = ("digits",),
        methods: Sequence[str] = tuple(METHODS),
    ) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        cells = [(d, n, s, m) for d in datasets for n in sizes for s in seeds for m in methods]
        return pd.DataFrame([record(rng, *cell) for cell in cells])

    return make


@pytest.fixture(scope="session")
def make_folder() -> Callable[..., Path]:
    """Write records, a configuration and examples the way runs do."""

    def make(folder: Path, records: pd.DataFrame, *, config: str = "", examples: int = 0) -> Path:
        (folder / "records").mkdir(parents=True)
        for index in range(len(records)):
            # Runs are recorded under a key, whatever else a record lacks.
            row = records.iloc[[index]].reset_index(drop=True).assign(key=f"{index:04d}")
            row.to_parquet(folder / "records" / f"{index:04d}.parquet")
        if config:
            (folder / "config.yaml").write_text(config)
        if examples:
            rng = np.random.default_rng(1)
            base = np.zeros((examples, 1, 28, 28), dtype=np.float32)
            base[:, :, 8:20, 8:20] = 1
            noise = rng.normal(scale=0.1, size=base.shape).astype(np.float32)
            stacks = {"images": base, "deformed": np.roll(base, 1, axis=3), "noisy": base + noise}
            np.savez(folder / "examples.npz", **stacks, labels=np.arange(examples), delta_px=np.float32(1.0))
        return folder

    return make


@pytest.fixture(scope="session")
def sphere_records():
    """Records of the constant target, d = 3, whose errors are 5 n^-beta times log-normal noise."""
    return sphere_curves.sphere_records


@pytest.fixture
def plateau_frame(tmp_path):
    """The rows of a plateau's records with a known start, written the way runs are."""
    numbers = itertools.count()

    def make(**options):
        folder = write_plateau_records(tmp_path / f"run{next(numbers)}", **options)
        return plateaus.prepare(read_records(folder), {})

    return make
