"""Made-up records of learning curves of random hierarchies, whose sizes are known."""

import numpy as np
import pandas as pd

from diffstab.results import canonical_json

CHANCE = 7 / 8


def hierarchy_records(
    *, tasks=((2, 4, 0), (2, 8, 0), (3, 4, 0)), seeds=(0, 1, 2), factor=2.0, lag=1.0, moves=False
):
    """Error and sensitivities fall linearly in log n from n_c m^L / 8 to sizes around factor n_c m^L.

    The error reaches a tenth of chance at `factor` n_c m^L (1 + seed / 100), and the sensitivities half of their start
    at `lag` times the size at which the error does.
    """
    rows = []
    for levels, synonyms, empty in tasks:
        known = 8 * synonyms**levels * (empty + 1) ** 2
        for seed in seeds:
            tenth = np.log(factor * known * (1 + seed / 100))
            start = np.log(known / 8)
            slope = 0.9 / (tenth - start)
            for multiple in 2.0 ** np.arange(-3, 4):
                n = multiple * known
                error = max(CHANCE * (1 - slope * (np.log(n) - start)), 0.0)
                half = start + 0.5 / slope + np.log(lag)
                sensitivity = np.clip(1 - 0.5 * (np.log(n) - start) / (half - start), 0, 1)
                name = f"L = {levels}, m = {synonyms}" + (f", s₀ = {empty}" if empty else "")
                rows.append(
                    {
                        "kind": "hierarchy",
                        "dataset": name,
                        "levels": levels,
                        "synonyms": synonyms,
                        "empty": empty,
                        "multiple": multiple,
                        "seed": seed,
                        "n_train": n,
                        "known_size": known,
                        "chance": CHANCE,
                        "test_error": error,
                        "train_error": 0.0,
                        "D_synonyms": sensitivity,
                        "R_synonyms": 2 * sensitivity,
                        **({"D_moves": 0.8 * sensitivity, "R_moves": sensitivity} if moves else {}),
                        "loss": 0.01,
                        "steps": 100,
                        "wall_seconds": 1.0,
                        "config": canonical_json({}),
                    }
                )
    return pd.DataFrame(rows)
