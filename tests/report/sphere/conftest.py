"""Learning curves on the sphere with known exponents."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

EXPONENTS = {"lazy_ntk": 3.0, "feature_exact": 2.5}


@pytest.fixture(scope="session")
def sphere_records():
    """Records of the constant target, d = 3, whose errors are 5 n^-beta times log-normal noise."""

    def make(sizes=(8, 16, 32, 64, 128), seeds=(0, 1, 2, 3, 4), dimensions=(3,), spread=0.1):
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
            rows.append(row | {"started_at": "2026-11-21T04:00:00+00:00", "wall_seconds": 1.0})
        return pd.DataFrame(rows)

    return make
