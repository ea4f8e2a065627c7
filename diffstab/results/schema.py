"""What the columns of records mean: name, unit and role of each, and how their values are called.

One table for everything that reads records: pages, figures, claims, dashboards. A column that is not listed shows
under its own name, as a number where its values are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

Role = Literal["number", "axis", "text", "list", "origin"]
"""number: a measurement. axis: names the run, with others. text: a word. list: many numbers. origin: who, when, how."""

INITIAL = "init_"
"""Before the name of a measurement: the same, before training."""


class Column(NamedTuple):
    """One column of the records.

    Attributes:
        label: Name with its symbol, for axes of figures and captions.
        noun: Name inside a sentence.
        heading: Short name over a column of a table.
        factor: Displayed value = factor * recorded value.
        unit: Unit of a displayed value, appended to it ("" for none).
        difference_unit: Unit of a displayed difference.
        role: What the column is for.
        share: Whether values lie in [0, 1].
    """

    label: str
    noun: str
    heading: str
    factor: float = 1.0
    unit: str = ""
    difference_unit: str = ""
    role: Role = "number"
    share: bool = False


def _share(label: str, noun: str, heading: str) -> Column:
    return Column(label, noun, heading, 100.0, " %", " points", share=True)


def _of(role: Role, label: str, noun: str = "", heading: str = "") -> Column:
    return Column(label, noun or label.lower(), heading or label, role=role)


_LISTED = {
    "dataset": _of("axis", "Data set"),
    "target": _of("axis", "Target"),
    "dimension": _of("axis", "Dimension d", "dimension", "d"),
    "n_train": _of("axis", "Training points n", "number of training points", "n"),
    "seed": _of("axis", "Seed"),
    "method": _of("axis", "Method"),
    "optimiser": _of("axis", "Optimiser"),
    "pair": _of("text", "Pair"),
    "width": _of("axis", "Width of the hidden layers", "width", "Width"),
    "restart": _of("axis", "Restart"),
    "levels": _of("axis", "Levels L", "number of levels", "L"),
    "synonyms": _of("axis", "Synonyms m", "number of synonyms", "m"),
    "empty": _of("axis", "Empty places s₀", "number of empty places", "s₀"),
    "multiple": _of("axis", "n over n_c m^L (s₀ + 1)²", "multiple", "Multiple"),
    "known_size": Column("Training points by theory", "number of training points by theory", "Theory"),
    "chance": _share("Error of a guess", "error of a guess", "Chance"),
    "regime": _of("text", "Regime"),
    "predictor": _of("text", "Predictor"),
    "architecture": _of("text", "Architecture"),
    "stop_reason": _of("text", "Stopped by", "reason of the stop"),
    "certificate": _of("text", "Certificate"),
    "test_error": _share("Test error", "test error", "Test error"),
    "train_error": _share("Training error", "training error", "Training error"),
    "margin_share": _share("Share with margin ≥ 1", "share with margin ≥ 1", "Margin ≥ 1"),
    "dead_share": _share("Dead neurons", "share of dead neurons", "Dead"),
    "folded_share": _share("Images that fold", "share of images that fold", "Folded"),
    "mean_square_error": Column("Test error, mean square", "mean square test error", "Test error"),
    "drawn_square_error": Column(
        "Test error on one field, mean square", "mean square test error", "Test error"
    ),
    "train_square_error": Column(
        "Training error, mean square", "mean square training error", "Training error"
    ),
    "degree": _of("axis", "Degree k", "degree", "k"),
    "error_power": _of("list", "Power of the error in degree k", "power of the error", "Power"),
    "D": Column("Sensitivity to deformations, D", "D", "D"),
    "G": Column("Sensitivity to noise, G", "G", "G"),
    "R": Column("Relative stability, R", "R", "R"),
    "E": Column("Sensitivity to deformations beside moving, E", "E", "E"),
    **{
        f"{letter}_{change}": Column(f"Sensitivity {to} {words}, {letter}", f"{letter} under {words}", letter)
        for change, words in (("synonyms", "synonyms"), ("moves", "moves of features"))
        for letter, to in (("D", "to"), ("G", "to noise as large as"), ("R", "relative to noise, to"))
    },
    "D_rotation": Column("Sensitivity to rotations, D", "D", "D"),
    "D_rotation_numerator": Column("Mean square change by rotation", "change by rotation", "Change"),
    "steps": Column("Steps", "number of steps", "Steps"),
    "flow_time": Column("Flow time", "flow time", "Flow time"),
    "train_seconds": Column("Training time (s)", "training time", "Seconds"),
    "wall_seconds": Column("Time of the run (s)", "time of the run", "Seconds"),
    "n_atoms": Column("Atoms that carry mass", "number of atoms", "Atoms"),
    "n_patterns": Column("Activation patterns", "number of activation patterns", "Patterns"),
    "effective_atoms": Column("Effective atoms", "effective number of atoms", "Effective atoms"),
    "n_direction_atoms": Column("Directions that carry mass", "number of directions", "Directions"),
    "kernel_drift": Column("Change of the tangent kernel", "kernel change", "Kernel change"),
    "effective_neurons": Column(
        "Effective neurons (participation ratio)", "effective number of neurons", "Effective neurons"
    ),
    "entropy_neurons": Column("Effective neurons (entropy)", "entropy number of neurons", "Entropy number"),
    "stable_rank": Column("Stable rank of the weights", "stable rank", "Stable rank"),
    "nearest_angle_deg": Column(
        "Angle to the nearest neuron", "nearest angle", "Nearest angle", unit="°", difference_unit="°"
    ),
    "loss": Column("Loss", "loss", "Loss"),
    "excess": Column("Share above the smallest loss", "share above the smallest loss", "Above the best"),
    "neurons_left": Column("Neurons left", "number of neurons left", "Neurons left"),
    "case": _of("axis", "Data"),
    "cost": Column("Data cost", "data cost", "Data cost"),
    "squared_norm": Column("Squared norm of the weights", "squared norm", "Squared norm"),
    "representation_cost": Column("Representation cost, C", "representation cost", "C"),
    "stationarity": Column("Relative size of the gradient", "relative gradient", "Gradient"),
    "hidden_layers": Column("Hidden layers", "number of hidden layers", "Hidden layers"),
    "depth": _of("axis", "Hidden layers", "number of hidden layers"),
    "ridge": _of("axis", "Ridge over the mean diagonal", "ridge", "Ridge"),
    "labels": _of("axis", "Labels"),
    "relative_residual": Column("Relative residual", "relative residual", "Residual"),
    "exact_residual": Column(
        "Relative residual, kernel in float64",
        "relative residual with the kernel in float64",
        "Residual, float64",
    ),
    "cpu_seconds": Column("Processor time (s)", "processor time", "CPU seconds"),
    "known_width": Column("Neurons by theory", "number of neurons of theory", "Theory"),
    "known_cost": Column("Norm by theory", "norm of theory", "Theory"),
    "attraction": Column("Size of the attraction", "attraction", "Attraction"),
    "repulsion": Column("Size of the repulsion", "repulsion", "Repulsion"),
    "size": Column("Size of the force", "size of the force", "Force"),
    "imbalance": Column("Imbalance of the forces", "imbalance", "Imbalance"),
    "fixed_imbalance": Column(
        "Imbalance, slope 0 at kinks", "imbalance with slope 0 at kinks", "… slope 0 at kinks"
    ),
    "separation": _share(
        "Scatter between classes", "share of the scatter between classes", "Between classes"
    ),
    "aligned_share": _share("Aligned neurons", "share of aligned neurons", "Aligned"),
    "residual_share": _share(
        "Norm without effect", "share of the norm without effect", "Norm without effect"
    ),
    "moved_share": _share("Moved by the inverse", "share moved by the inverse", "Moved by the inverse"),
    "groups": Column("Rays", "number of rays", "Rays"),
    "rank": Column("Rank of Z", "rank", "Rank"),
    "kinks": Column("Neuron and point at a kink", "pairs of neuron and point at a kink", "At kinks"),
    "layers": _of("axis", "Layers L", "number of layers", "L"),
    "inner": _of("axis", "Inner numbers of the function, k", "number of inner numbers", "k"),
    "bottleneck_rank": Column("Least rank of a layer", "least rank of a layer", "Least rank"),
    "least_rank": Column("Least rank of the representations", "least rank", "Least rank"),
    "hamiltonian": Column("Hamiltonian, mean over layers", "Hamiltonian", "H"),
    "hamiltonian_drift": Column(
        "Drift of the Hamiltonian", "drift of the Hamiltonian", "Drift", 100.0, " %", " points"
    ),
    "kinetic_energy": Column("Kinetic energy, mean over layers", "kinetic energy", "Kinetic energy"),
    "hamiltonian_by_layer": _of("list", "Hamiltonian by layer"),
    "rank_by_layer": _of("list", "Rank by layer"),
    "singular_values": _of("list", "Singular values of the narrowest layer"),
    "step": Column("Step", "step", "Steps"),
    "layer": _of("axis", "Layer"),
    "delta_px": Column("Displacement δ (px)", "displacement", "δ (px)"),
    "cutoff": Column("Cut-off frequency c", "cut-off", "c"),
    "temperature": Column("Temperature T", "temperature", "T"),
    **{
        name: _of("origin", label)
        for name, label in {
            "key": "Record",
            "kind": "Experiment",
            "config": "Configuration",
            "git_commit": "Commit",
            "git_dirty": "Uncommitted changes",
            "versions": "Versions",
            "hardware": "Machine",
            "streams": "Scheme of random streams",
            "started_at": "Started",
        }.items()
    },
}

_INTERVAL_ENDS = ("_low", "_high", "_median", "_se")
_LAYER = re.compile(r"(.+)_(\d+)")

_VALUES = {
    "method": {
        "feature": "feature",
        "feature_exact": "feature (exact)",
        "feature_alpha": "feature (α-trick)",
        "feature_decay": "feature (L2 penalty)",
        "feature_trained": "feature (trained)",
        "feature_adam": "feature (Adam)",
        "lazy_ntk": "lazy (NTK)",
        "lazy_random_features": "lazy (random features)",
        "lazy_exact": "lazy (exact)",
        "lazy_svc": "lazy (SVC)",
        "lazy_trained": "lazy (trained)",
    },
    "dataset": {
        "digits": "Digits",
        "mnist": "MNIST",
        "fashion_mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10",
        "cifar10-jpeg": "CIFAR-10 (JPEG)",
        "teacher": "Teacher",
        "composed": "Composed functions",
        "complete_bipartite": "Complete bipartite graph",
        "one_hot": "One-hot classes",
        "scalar": "Scalar function",
    },
}


def describe(name: str) -> Column:
    """Return what a column means.

    `init_` before a listed measurement, or the number of a layer behind it, changes its names accordingly; the ends
    of its interval (`_low`, `_high`) and its median are named after it.
    """
    if name in _LISTED:
        return _LISTED[name]
    if name.startswith(INITIAL) and (base := name.removeprefix(INITIAL)) in _LISTED:
        one = _LISTED[base]
        label, noun = f"{one.label}, before training", f"{one.noun} before training"
        return one._replace(label=label, noun=noun, heading=f"{one.heading} before")
    for end in _INTERVAL_ENDS:
        if name.endswith(end):
            return describe(name.removesuffix(end))
    if (found := _LAYER.fullmatch(name)) and found[1] in _LISTED:
        one = _LISTED[found[1]]
        label, noun = f"{one.label}, layer {found[2]}", f"{one.noun} of layer {found[2]}"
        return one._replace(label=label, noun=noun, heading=f"{one.heading} {found[2]}")
    return Column(name, name, name)


def is_listed(name: str) -> bool:
    """Return whether a column, or the one that it belongs to, is listed here."""
    return describe(name) != Column(name, name, name)


def declare(columns: Mapping[str, Column]) -> None:
    """Say what further columns mean, as those of an experiment of one's own; what is listed here already stays."""
    for name, column in columns.items():
        _LISTED.setdefault(name, column)


def is_axis(name: str) -> bool:
    """Return whether a column names a run, together with the other axes."""
    return describe(name).role == "axis"


def is_measurement(name: str) -> bool:
    """Return whether a column is listed here as one of numbers, its twin before training too."""
    return name.removeprefix(INITIAL) in _LISTED and describe(name).role == "number"


def value_name(column: str, value: object) -> str:
    """Return a value of a column of words as people call it; one that is not listed as it is."""
    return _VALUES.get(column, {}).get(str(value), str(value))


def ordered_values(column: str) -> list[str]:
    """Return the values of a column of words that have names, in the order in which they stand side by side."""
    return list(_VALUES.get(column, {}))
