"""Records of forces during training with known numbers, written the way runs are."""

import numpy as np
import pandas as pd

STEPS, STAGES = [0, 1, 8, 64], ["start", "gd", "adam", "finish"]


def force_row(seed, *, hidden=(6, 5), imbalance=0.01, has_classes=True):
    """One run: forces that cancel, classes that part and neurons that line up, all by a straight course."""
    rng = np.random.default_rng(seed)
    row = {"kind": "forces", "dataset": "digits", "n_train": 20, "seed": seed, "hidden_widths": list(hidden)}
    row |= {"tolerance": 1e-3, "tikhonov": 0.0, "aligned_deg": 5.0, "stationarity": 1e-5, "converged": True}
    row |= {
        "residual_share": 1e-9,
        "moved_share": 1e-9,
        "kinks": 3,
        "loss": 0.5,
        "squared_norm": 9.0,
        "step": 64,
    }
    courses = {"attraction": (0.1, 0.01), "repulsion": (0.3, 0.01), "imbalance": (0.9, imbalance)}
    courses |= {
        "fixed_imbalance": (0.9, 2 * imbalance),
        "separation": (0.2, 0.8) if has_classes else (np.nan,) * 2,
    }
    inner = {"rank": (6.0, 3.0), "groups": (6.0, 2.0), "aligned_share": (0.0, 0.9), "dead_share": (0.0, 0.1)}
    row |= {
        "trace_step": STEPS,
        "trace_stage": STAGES,
        "trace_loss": [4.0, 3.0, 1.0, 0.5],
        "wall_seconds": 1.0,
    }
    for layer in range(1, len(hidden) + 2):
        for name, (first, last) in (courses | (inner if layer <= len(hidden) else {})).items():
            values = np.linspace(first, last * (1 + 0.01 * rng.random()), len(STEPS))
            row |= {f"trace_{name}_{layer}": values.tolist(), f"{name}_{layer}": float(values[-1])}
    return row


def write_force_records(folder, *, seeds=(0, 1, 2), hidden=(6, 5), config="", **options):
    """Write the records of some seeds, with the states of the layers of the first."""
    rng = np.random.default_rng(0)
    for name in ("snapshots", "records"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        arrays = {"labels": np.arange(20) % 3} if options.get("has_classes", True) else {}
        for step in STEPS[::3]:
            for layer, width in enumerate(hidden, start=1):
                force = rng.normal(size=(width, 20))
                arrays |= {
                    f"step{step}_z{layer}": rng.normal(size=(width, 20)),
                    f"step{step}_attraction{layer}": force,
                }
                arrays[f"step{step}_repulsion{layer}"] = -0.99 * force
        np.savez(folder / "snapshots" / f"{seed}.npz", **arrays)
        row = force_row(seed, hidden=hidden, **options) | {"key": str(seed)}
        pd.DataFrame([row]).to_parquet(folder / "records" / f"{seed}.parquet")
    if config:
        (folder / "config.yaml").write_text(config)
    return folder
