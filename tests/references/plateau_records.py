"""Plateaus with a known start, written the way runs are."""

import itertools
import json

from diffstab.results import RecordStore

FLOOR, START, SLOPE, FAILED = 2.0, 4, 0.1, 0.5
"""The best loss falls by a share SLOPE of the floor per neuron up to START; restart 2 fails by FAILED from there on."""


def net_row(width, restart, *, depth, classes):
    """One run over the weights: restart 1 lies a thousandth above the best, restart 2 fails."""
    height = SLOPE * max(0, START - width) + {0: 0.0, 1: 1e-3, 2: FAILED}[restart]
    left = [min(width, START)] * (depth - 1)
    row = {"loss": FLOOR * (1 + height), "cost": 1.0, "squared_norm": 10.0 + height, "converged": restart < 2}
    row |= {
        "representation_cost": 10.0 + height,
        "hidden_widths": [width] * (depth - 1),
        "steps": 100 * width,
    }
    row |= {
        "stationarity": 1e-5 if restart < 2 else 0.3,
        "error_kind": "misclassified" if classes else "mean_square",
    }
    row |= {"train_error": 0.0, "test_error": 0.1 + 0.2 / width, "n_groups": left, "pruned_widths": left}
    row |= {
        "pruned_loss": FLOOR * (1 + height) * 1.001,
        "rank_lower": left,
        "rank_upper": [n + 1 for n in left],
    }
    return row


def cone_row(gap):
    """The run over the covariances: a gap above the bound FLOOR (1 - gap)."""
    row = {"loss": FLOOR, "cost": 1.0, "squared_norm": 10.0, "converged": True, "representation_cost": 10.0}
    row |= {"hidden_widths": [START], "steps": 12, "stationarity": None, "error_kind": "mean_square"}
    row |= {"train_error": 0.0, "test_error": 0.2, "n_groups": [START], "pruned_widths": [START]}
    row |= {"pruned_loss": FLOOR, "rank_lower": [START], "rank_upper": [START]}
    return row | {"gap": gap, "bound": FLOOR * (1 - gap), "gap_kind": "duality", "oracle": "exact"}


def write_plateau_records(
    folder, *, dataset="teacher", n_train=(8,), seeds=(0,), widths=(1, 2, 3, 4, 6, 8), **options
):
    """Write the records of a grid; `change(row)` may alter each row before it is written.

    Optimisers are those over the weights, more with `nets`, and the covariances unless `cone` is false.
    """
    restarts, cone = options.get("restarts", 3), options.get("cone", True)
    depth, classes = options.get("depth", 2), options.get("classes", False)
    config = {
        "n_train": list(n_train),
        "seeds": list(seeds),
        "widths": list(widths),
        "restarts": restarts,
    }
    nets = options.get("nets", ["weights"])
    config |= {"optimisers": [*nets, "covariances"] if cone else nets, "depth": depth}
    config |= {"plateau_tolerance": 0.01, "activation": "relu", "prune_angle_deg": 1.0, "penalty": 1e-3}
    config |= {"cost": "cross_entropy" if classes else "mse"} | options.get("config", {})
    store = RecordStore(folder, config)
    for n, seed in itertools.product(n_train, seeds):
        rows = [
            {"width": width, "restart": restart, "optimiser": optimiser}
            | net_row(width, restart, depth=depth, classes=classes)
            for optimiser, width, restart in itertools.product(nets, widths, range(restarts))
        ]
        rows += [{"width": START, "restart": 0, "optimiser": "covariances"} | cone_row(1e-4)] if cone else []
        for row in rows:
            row |= {
                "kind": "plateau",
                "dataset": dataset,
                "n_train": n,
                "seed": seed,
                "known_width": None,
            }
            row |= {"known_cost": None, "input_dimension": 3, "train_seconds": 18.0, "runs_together": 18}
            row |= {"git_commit": "0123456789abcdef", "git_dirty": False, "hardware": "2 cores"}
            row |= {
                "versions": json.dumps({"torch": "2.15.0"}),
                "started_at": "2026-11-21T04:00:00+00:00",
            }
            row |= {"config": json.dumps(config)}
            row = options.get("change", lambda row: row)(row)
            store.write(
                store.key({name: row[name] for name in ("n_train", "seed", "optimiser", "width", "restart")}),
                row,
            )
    return store.folder
