"""How numbers are written for people: their digits, with an interval or without."""

from __future__ import annotations

import math

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_DECIMALS = 5


def number_text(value: float, *, decimals: int | None = None, signed: bool = False) -> str:
    """A number for reading: three significant digits or the given decimals; a dash for NaN."""
    if not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    if decimals is None:
        if value != 0 and not 1e-3 <= abs(value) < 1e6:
            mantissa, power = format(value, f"{sign}.2e").split("e")
            return mantissa.replace("-", "−") + _power_text(int(power))
        whole = math.isclose(value, round(value), rel_tol=1e-12)
        decimals = 0 if whole else max(0, 2 - math.floor(math.log10(abs(value))))
    return format(value, f"{sign}z,.{decimals}f").replace("-", "−").replace(",", "\u202f")


def number_with_interval(
    value: float,
    low: float,
    high: float,
    *,
    unit: str = "",
    signed: bool = False,
    decimals: int | None = None,
) -> str:
    """A number with its interval: ``12.3 % [11.9, 12.8]``, ``5.3 [2.3, 8.3] × 10⁻¹⁰``.

    The half-width of the interval sets the decimals: one significant digit of it, two if it begins with 1 or 2, and up
    to two more where an end would else read 0 without being it.

    Args:
        value: The number.
        low: Lower end, NaN for none.
        high: Upper end, NaN for none.
        unit: Behind the number.
        signed: Whether a plus is written.
        decimals: Instead of those that the half-width sets.
    """
    half = (high - low) / 2
    if not (math.isfinite(value) and math.isfinite(half)):
        text = number_text(value, decimals=decimals, signed=signed)
        return text + unit if math.isfinite(value) else text
    largest, power = max(map(abs, (value, low, high))), 0
    if decimals is None and half > 0:
        power = math.floor(math.log10(largest)) if not 1e-3 <= largest < 1e6 else 0
        value, low, high, half = (number / 10.0**power for number in (value, low, high, half))
        decimals = _decimals(low, high, half)
    texts = [number_text(number, decimals=decimals, signed=signed) for number in (value, low, high)]
    return f"{texts[0]}{'' if power else unit} [{texts[1]}, {texts[2]}]" + (
        _power_text(power) + unit if power else ""
    )


def _decimals(low: float, high: float, half: float) -> int | None:
    """How many decimals an interval leaves; None for three significant digits, where they would be many."""
    power = math.floor(math.log10(half))
    found = max(0, -power + (half < 3 * 10**power))
    for _ in range(2):
        found += any(end != 0 and float(f"{end:.{found}f}") == 0 for end in (low, high))
    return found if found <= _MOST_DECIMALS else None


def _power_text(power: int) -> str:
    return f" × 10{str(power).translate(_RAISED)}"
