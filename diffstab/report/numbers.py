"""How numbers are written for readers."""

import math

from diffstab.results.schema import Column, describe


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


def interval_text(
    name: str | Column, mean: float, low: float, high: float, *, difference: bool = False
) -> str:
    """A recorded mean with its interval in display units: ``12.34 % [11.90, 12.78]``.

    The half-width of the interval sets the decimals: one significant digit of it, two if it begins with 1 or 2.

    Args:
        name: Column of the record, or what it means: sets factor and unit.
        mean: Recorded value.
        low: Lower limit, NaN for none.
        high: Upper limit, NaN for none.
        difference: Whether the value is a difference of two recorded values; its sign is then always written.

    Returns:
        The text, without brackets where there is no interval.
    """
    shown = name if isinstance(name, Column) else describe(name)
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


def percent(share: float) -> str:
    """A share as a percentage of two digits; what is below a millionth as zero, above a thousand as a factor."""
    value = 100 * share if abs(share) >= 1e-6 else 0.0
    if share > 1000:
        return f"{number_text(share)}-fold" if math.isfinite(share) else "infinitely"
    digits = f"{value:.2g}".replace("-", "−")
    return f"{digits if abs(value) < 100 else number_text(value, decimals=0)} %"
