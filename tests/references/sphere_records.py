"""Learning curves on the sphere with known exponents, as the commands record them."""

import itertools
import json

import numpy as np
import pandas as pd


def sphere_row(dataset, method, n_train, seed, *, smoothness=np.inf, isotropic=True):
    """What is the same for every predictor of a target."""
    target, _, dimension = dataset.partition(", d = ")
    regime = "lazy" if method.startswith("lazy") else "feature"
    row = {
        "dataset": dataset,
        "dimension": int(dimension),
        "target": target,
        "n_train": n_train,
        "seed": seed,
    }
    row |= {"method": method, "regime": regime, "predictor": "ntk" if regime == "lazy" else "exact"}
    row |= {"smoothness": smoothness, "isotropic": isotropic, "learnt_degree": 10, "wall_seconds": 1.0}
    row |= {"n_atoms": n_train - seed % 2 if regime == "feature" else np.nan, "stop_reason": None}
    row |= {"versions": json.dumps({"torch": "2.15.0"}), "hardware": "2 cores", "git_dirty": False}
    row |= {"git_commit": "0123456789abcdef", "config": "{}", "key": f"{dataset}-{n_train}-{seed}-{method}"}
    return row | {"started_at": "2026-11-21T04:00:00+00:00"}


def curve_records(dataset, exponents, *, sizes=(8, 16, 32, 64, 128), seeds=range(5), spread=0.05, **options):
    """Errors amplitude n^-beta times log-normal noise; `exponents` maps a method to (amplitude, beta)."""
    rng = np.random.default_rng(0)
    rows = []
    for n_train, seed, method in itertools.product(sizes, seeds, exponents):
        amplitude, beta = exponents[method]
        row = sphere_row(dataset, method, n_train, seed, **options)
        row["test_error"] = amplitude * n_train**-beta * np.exp(spread * rng.normal())
        rows.append(row | {"drawn_error": row["test_error"], "D_rotation_numerator": 2 * row["test_error"]})
    return pd.DataFrame(rows)
