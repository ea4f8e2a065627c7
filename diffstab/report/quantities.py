"""What the columns of a record mean to a reader: names, units and how their numbers are written."""

import math
from typing import NamedTuple


class Quantity(NamedTuple):
    """How a column is named and scaled for display.

    Attributes:
        label: Name with its symbol, for axes and captions.
        noun: Name inside a sentence.
        heading: Short name over a column of a table.
        factor: Displayed value = factor * recorded value.
        unit: Unit of a displayed value, appended to it ("" for none).
        difference_unit: Unit of a displayed difference.
    """

    label: str
    noun: str
    heading: str
    factor: float = 1.0
    unit: str = ""
    difference_unit: str = ""


_PERCENT = (100.0, " %", " points")

QUANTITIES: dict[str, Quantity] = {
    "test_error": Quantity("Test error", "test error", "Test error", *_PERCENT),
    "train_error": Quantity("Training error", "training error", "Training error", *_PERCENT),
    "mean_square_error": Quantity("Test error, mean square", "mean square test error", "Test error"),
    "D_rotation": Quantity("Sensitivity to rotations, D", "D", "D"),
    "D_rotation_numerator": Quantity("Mean square change by rotation", "change by rotation", "Change"),
    "margin_share": Quantity("Share with margin ≥ 1", "share with margin ≥ 1", "Margin ≥ 1", *_PERCENT),
    "init_R": Quantity("R at initialisation", "R at initialisation", "R before"),
    "D": Quantity("Sensitivity to deformations, D", "D", "D"),
    "G": Quantity("Sensitivity to noise, G", "G", "G"),
    "R": Quantity("Relative sensitivity, R", "R", "R"),
    "steps": Quantity("Steps", "number of steps", "Steps"),
    "flow_time": Quantity("Flow time", "flow time", "Flow time"),
    "train_seconds": Quantity("Training time (s)", "training time", "Seconds"),
    "n_atoms": Quantity("Atoms that carry mass", "number of atoms", "Atoms"),
    "n_patterns": Quantity("Activation patterns", "number of activation patterns", "Patterns"),
    "effective_atoms": Quantity("Effective atoms", "effective number of atoms", "Effective atoms"),
    "n_direction_atoms": Quantity("Directions that carry mass", "number of directions", "Directions"),
    "kernel_drift": Quantity("Change of the tangent kernel", "kernel change", "Kernel change"),
    "effective_neurons": Quantity(
        "Effective neurons (participation ratio)", "effective number of neurons", "Effective neurons"
    ),
    "entropy_neurons": Quantity("Effective neurons (entropy)", "entropy number of neurons", "Entropy number"),
    "stable_rank": Quantity("Stable rank of the weights", "stable rank", "Stable rank"),
    "dead_share": Quantity("Dead neurons", "share of dead neurons", "Dead", *_PERCENT),
    "nearest_angle_deg": Quantity(
        "Angle to the nearest neuron", "nearest angle", "Nearest angle", 1.0, "°", "°"
    ),
}

_METHODS = {
    "feature": "feature",
    "feature_exact": "feature (exact)",
    "feature_alpha": "feature (α-trick)",
    "feature_projected_gd": "feature (L1 penalty)",
    "feature_trained": "feature (trained)",
    "lazy_ntk": "lazy (NTK)",
    "lazy_random_features": "lazy (random features)",
    "feature_adam": "feature (Adam)",
    "lazy_exact": "lazy (exact)",
    "lazy_svc": "lazy (SVC)",
    "lazy_trained": "lazy (trained)",
}

DATASETS = {
    "digits": "Digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR10",
    "cifar10-jpeg": "CIFAR10, JPEG",
}
"""Data sets of images as readers see them, in the order in which they stand side by side."""


def quantity(name: str) -> Quantity:
    """The display of a column; one that is not listed shows under its own name."""
    return QUANTITIES.get(name, Quantity(name, name, name))


def method_name(method: str) -> str:
    """A method as readers see it; one that is not listed shows as it is."""
    return _METHODS.get(method, method)


def number_text(value: float, *, decimals: int | None = None, signed: bool = False) -> str:
    """A number for reading: three significant digits or the given decimals; a dash for NaN."""
    if not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    if decimals is None:
        if value != 0 and not 1e-3 <= abs(value) < 1e6:
            return format(value, f"{sign}.2e").replace("-", "−")
        whole = math.isclose(value, round(value), rel_tol=1e-12)
        decimals = 0 if whole else max(0, 2 - math.floor(math.log10(abs(value))))
    return format(value, f"{sign}z,.{decimals}f").replace("-", "−").replace(",", "\u202f")


def interval_text(name: str, mean: float, low: float, high: float, *, difference: bool = False) -> str:
    """A recorded mean with its interval in display units: ``12.34 % [11.90, 12.78]``.

    The half-width of the interval sets the decimals: one significant digit of it, two if it begins with 1 or 2.

    Args:
        name: Column of the record, which sets factor and unit.
        mean: Recorded value.
        low: Lower limit, NaN for none.
        high: Upper limit, NaN for none.
        difference: Whether the value is a difference of two recorded values; its sign is then always written.

    Returns:
        The text, without brackets where there is no interval.
    """
    shown = quantity(name)
    mean, low, high = (shown.factor * value for value in (mean, low, high))
    unit = (shown.difference_unit if difference else shown.unit) if math.isfinite(mean) else ""
    half = (high - low) / 2
    if not math.isfinite(half):
        return number_text(mean, signed=difference) + unit
    places = None
    if half > 0:
        power = math.floor(math.log10(half))
        places = max(0, -power + (half < 3 * 10**power))
        places = places if places <= 5 else None
    texts = [number_text(value, decimals=places, signed=difference) for value in (mean, low, high)]
    return f"{texts[0]}{unit} [{texts[1]}, {texts[2]}]"
