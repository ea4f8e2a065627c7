"""Learning curves on the sphere with known exponents."""

import itertools
import json

import numpy as np
import pandas as pd

EXPONENTS = {"lazy_ntk": 3.0, "feature_exact": 2.5}


def sphere_records(sizes=(8, 16, 32, 64, 128), seeds=(0, 1, 2, 3, 4), dimensions=(3,), spread=0.1):
    rng = np.random.default_rng(0)
    rows = []
    for d, n, seed, method in itertools.product(dimensions, sizes, seeds, EXPONENTS):
        lazy = method == "lazy_ntk"
        row = {"dataset": f"constant, d = {d}", "dimension": d, "target": "constant", "n_train": n}
        row |= {"seed": seed, "method": method, "regime": "lazy" if lazy else "feature"}
        row |= {"smoothness": np.inf, "predictor": "ntk" if lazy else "exact"}
        row["test_error"] = 5 * n ** -EXPONENTS[method] * np.exp(spread * rng.normal())
        row |= {
            "train_error": 1e-25,
            "train_seconds": 0.1,
            "D_rotation": 0.3,
            "D_rotation_numerator": 1e-3,
        }
        row |= {"solver": "cholesky" if lazy else None, "certificate": None if lazy else "exact"}
        row |= {"n_atoms": np.nan if lazy else n - seed % 2, "gap": np.nan if lazy else 5e-5}
        row |= {"tolerance": np.nan if lazy else 1e-4, "reciprocal_condition": 1e-4 if lazy else np.nan}
        row |= {"key": f"{d}-{n}-{seed}-{method}", "config": "{}", "git_commit": "0123456789abcdef"}
        row |= {"git_dirty": False, "versions": json.dumps({"torch": "2.15.0"}), "hardware": "2 cores"}
        if n <= 16:
            rng_points = np.random.default_rng([seed, n, d])
            places = rng_points.normal(size=(n, d))
            places /= np.linalg.norm(places, axis=1, keepdims=True)
            row |= {"points": places.ravel(), "values": np.ones(n), "centres": places.ravel()}
            row["coefficients"] = rng_points.normal(size=n) / n
        decay = np.arange(1, 9, dtype=float) ** -3.0
        row |= {"error_power": decay / n, "target_power": decay, "power_kind": "exact", "learnt_degree": 3.0}
        row |= {"theory_error": row["test_error"] / 2 if lazy else np.nan}
        row |= {"theory_power": decay / n if lazy else None}
        rows.append(row | {"started_at": "2026-11-21T04:00:00+00:00", "wall_seconds": 1.0})
    return pd.DataFrame(rows)
