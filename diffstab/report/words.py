"""How pages write numbers, columns and values, and what the words on them mean (`words.yaml`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from diffstab.report.intervals import DIFFERENCE
from diffstab.results import parse_yaml
from diffstab.results.numbers import number_text as number_text
from diffstab.results.numbers import number_with_interval
from diffstab.results.schema import Column, describe, ordered_values, value_name

WORDS: dict[str, str] = parse_yaml(Path(__file__).with_suffix(".yaml").read_bytes())
"""One line per word, by the word as pages print it."""
_TARGETS = {
    "constant": "constant target",
    "anisotropic_2": "target of two coordinates",
    "abs_teacher_1": "target of all coordinates",
}
_SYMBOLS = {"n_train": "n", "dimension": "d", "degree": "k"}
"""Columns that a panel or a point names by their symbol."""


def interval_text(
    name: str | Column,
    mean: float,
    low: float = math.nan,
    high: float = math.nan,
    *,
    difference: bool = False,
    decimals: int | None = None,
) -> str:
    """A recorded mean with its interval in display units: ``12.34 % [11.90, 12.78]``.

    Args:
        name: Column of the record, or what it means: sets factor and unit.
        mean: Recorded value.
        low: Lower limit, NaN for none.
        high: Upper limit, NaN for none.
        difference: Whether the value is a difference of two recorded values; its sign is then always written.
        decimals: Instead of those that the interval sets.

    Returns:
        The text, without brackets where there is no interval.
    """
    shown = name if isinstance(name, Column) else column_of(name)
    difference = difference or (isinstance(name, str) and name.startswith(DIFFERENCE))
    mean, low, high = (shown.factor * value for value in (mean, low, high))
    unit = shown.difference_unit if difference else shown.unit
    return number_with_interval(mean, low, high, unit=unit, signed=difference, decimals=decimals)


def percent(share: float) -> str:
    """A share as a percentage of two digits; what is below a millionth as zero, above a thousand as a factor."""
    value = 100 * share if abs(share) >= 1e-6 else 0.0
    if share > 1000:
        return f"{number_text(share)}-fold" if math.isfinite(share) else "infinitely"
    digits = f"{value:.2g}".replace("-", "−")
    return f"{digits if abs(value) < 100 else number_text(value, decimals=0)} %"


def listed(values: Sequence[object]) -> str:
    """Values in words: "64, 256 and 1024"; "none" for none."""
    texts = [str(value) for value in values] or ["none"]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 draw", "5 draws"."""
    return f"{number_text(count)} {noun}{'' if count == 1 else 's'}"


def span(counts: Sequence[int], noun: str) -> str:
    """A range of numbers with its noun: "5 to 15 draws"."""
    low, high = min(counts), max(counts)
    return counted(low, noun) if low == high else f"{low} to {counted(high, noun)}"


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def defined(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return words with their definitions; those that need none are left out."""
    return [(word, WORDS[word]) for word in dict.fromkeys(words) if word in WORDS]


def column_of(name: str) -> Column:
    """Return what a column means; a difference of methods is named after what differs."""
    if not name.startswith(DIFFERENCE):
        return describe(name)
    one = describe(name.removeprefix(DIFFERENCE))
    return one._replace(label=f"Difference of {one.noun}", noun=f"difference of {one.noun}")


def value_text(column: str, value: object, *, named: bool = False) -> str:
    """Return a value as readers see it.

    Args:
        column: Its column.
        value: The value; a swept option behind a comma stays behind the name.
        named: Whether a number goes with the name of its column: "n = 64", "seed 3".
    """
    if isinstance(value, float) or pd.api.types.is_integer(value):
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if not named:
            return text
        symbol = _SYMBOLS.get(column)
        return f"{symbol} = {text}" if symbol else f"{describe(column).noun} {text}"
    head, comma, option = str(value).partition(", ")
    name = value_name(column, head)
    if column == "target" or (column == "dataset" and name == head):
        name = _TARGETS.get(head, head)
        if head.startswith("gaussian_"):
            name = f"Gaussian field ν = {head.removeprefix('gaussian_')}"
    return name + comma + option


def ordered(column: str, values: Iterable[object]) -> list[object]:
    """Return the different values in the order of the schema, others behind them by size or alphabet."""
    known = {name: rank for rank, name in enumerate(ordered_values(column))}
    different = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    return sorted(different, key=lambda value: known.get(str(value), len(known)))
