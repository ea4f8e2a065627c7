"""The look of every figure: one palette, one set of matplotlib settings."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from matplotlib import style


class Look(NamedTuple):
    """Colour, marker and line style that stand for one method; any of the three tells it apart."""

    colour: str
    marker: str
    linestyle: Any


INK = "#222222"
"""Colour of text and axes."""

FAINT = "#8a8a8a"
"""Colour of reference lines."""

# The palette of Okabe and Ito (2008), told apart with any common colour blindness; its yellow is too light
# for lines on white. Dashes stay free for values at initialisation.
_KNOWN = {
    "": Look(INK, "o", "-"),
    "feature": Look("#D55E00", "o", "-"),
    "lazy_exact": Look("#0072B2", "s", "-"),
    "lazy_trained": Look("#56B4E9", "D", "-."),
    "feature_adam": Look("#E69F00", "^", "-."),
    "feature_exact": Look("#D55E00", "o", "-"),
    "feature_trained": Look("#E69F00", "^", "-."),
    "lazy_ntk": Look("#0072B2", "s", "-"),
    "lazy_random_features": Look("#009E73", "v", "-"),
}
_OTHERS = (
    Look("#009E73", "v", "-"),
    Look("#CC79A7", "P", "-."),
    Look("#000000", "X", ":"),
    Look("#882255", "*", (0, (6, 1, 1, 1, 1, 1))),
)

_SETTINGS = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "svg.fonttype": "path",
    "svg.hashsalt": "diffstab",
    "pdf.fonttype": 42,
    "text.usetex": False,
}


def figure_style() -> AbstractContextManager[None]:
    """A context in which figures have the project's look; the settings from outside come back after it."""
    return style.context(["default", _SETTINGS])


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """One look per method: fixed for the usual methods, by order of name for the others.

    Args:
        methods: Labels; repeats are allowed. Beyond four unusual ones, looks repeat.

    Returns:
        Look by label.
    """
    labels = sorted(set(methods))
    unusual = [label for label in labels if label not in _KNOWN]
    given = {label: _OTHERS[index % len(_OTHERS)] for index, label in enumerate(unusual)}
    return {label: _KNOWN.get(label) or given[label] for label in labels}


LAYERS = (
    Look("#0072B2", "o", "-"),
    Look("#D55E00", "s", "-"),
    Look("#009E73", "^", "-"),
    Look("#CC79A7", "D", "-"),
    Look("#000000", "v", "-"),
)
"""Look of the layers 1, 2, ...; it repeats beyond five."""

_OPTIMISERS = {
    "weights": Look("#0072B2", "o", "-"),
    "shrinking": Look("#56B4E9", "^", "--"),
    "representations": Look("#009E73", "s", "-."),
    "covariances": Look("#D55E00", "D", "--"),
}


_FORCES = {"attraction": Look("#0072B2", "o", "-"), "repulsion": Look("#D55E00", "s", (0, (5, 2)))}
_PALETTES = {"optimiser": _OPTIMISERS, "force": _FORCES}


def palette(column: str, values: Sequence[str]) -> dict[str, Look]:
    """Looks of the values of a column: of optimisers and forces fixed, of layers by order, else those of methods."""
    if column == "layer":
        return {value: LAYERS[index % len(LAYERS)] for index, value in enumerate(sorted(values))}
    return {
        **looks(values),
        **{value: _PALETTES[column][value] for value in values if value in _PALETTES.get(column, {})},
    }


def plain(text: str) -> str:
    """Text drawn as it stands: no mathematics between dollars, no label hidden by an underscore."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
