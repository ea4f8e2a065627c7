"""Deformations as a person writes them down: "1px", "0.5%" of the side, "rotation 5deg", with a cut-off or without."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from diffstab.diffeo import admissible_temperatures, temperature_from_displacement
from diffstab.errors import ArgumentError
from diffstab.stability import diffeomorphism, random_rotation, random_translation

DIFFEOMORPHISM = "diffeomorphism"
_AMOUNT = re.compile(r"\s*([0-9.eE+-]+)\s*(px|%|deg|)\s*")
_UNITS = {DIFFEOMORPHISM: ("px", "%"), "translation": ("px", "%"), "rotation": ("deg",), "scaling": ("%",)}


class Amount(NamedTuple):
    """A deformation before the size of the images is known.

    Attributes:
        kind: "diffeomorphism", "rotation", "translation" or "scaling".
        value: How much, > 0.
        unit: "px"; "%" of the side of the image, or of its size for a scaling; "deg".
        cutoff: c >= 2 of a diffeomorphism; 0 for the others.
    """

    kind: str
    value: float
    unit: str
    cutoff: int = 0

    @property
    def text(self) -> str:
        """How it is written: "1px" for a diffeomorphism, "rotation 5deg" for another."""
        amount = f"{self.value:g}{self.unit}"
        return amount if self.kind == DIFFEOMORPHISM else f"{self.kind} {amount}"

    @property
    def label(self) -> str:
        """How a person reads it: "δ = 1 px, c = 3"."""
        if self.kind == DIFFEOMORPHISM:
            return f"δ = {self.value:g} {self.unit}, c = {self.cutoff}"
        return f"{self.kind} by {self.value:g}{'°' if self.unit == 'deg' else ' ' + self.unit}"

    def pixels(self, size: tuple[int, int]) -> float:
        """Return the displacement in pixels of images (height, width); NaN for rotations and scalings.

        A share is one of the side n, with n^2 = (H^2 + W^2) / 2 for a rectangle.
        """
        if self.unit == "px":
            return self.value
        if self.unit == "%" and self.kind != "scaling":
            return self.value / 100 * math.hypot(*size) / math.sqrt(2)
        return math.nan

    def deformation(self, size: tuple[int, int]) -> Any:
        """Return what deforms images (height, width).

        Raises:
            ArgumentError: It is out of range.
        """
        if self.kind == DIFFEOMORPHISM:
            return diffeomorphism(self.pixels(size), self.cutoff)
        if self.kind == "rotation":
            return random_rotation(self.value)
        if self.kind == "translation":
            return random_translation(self.pixels(size))
        if self.kind == "scaling":
            from diffstab.stability import random_scaling

            return random_scaling(self.value / 100)
        raise ArgumentError("deformation", f"be one of {', '.join(_UNITS)}", repr(self.kind))

    def columns(self, size: tuple[int, int]) -> dict[str, Any]:
        """Return what a record says of it, for images (height, width)."""
        row: dict[str, Any] = {"deformation_kind": self.kind, "delta_px": self.pixels(size)}
        row["delta_share"] = row["delta_px"] / (math.hypot(*size) / math.sqrt(2))
        if self.kind != DIFFEOMORPHISM:
            return {**row, "amount": self.value}
        limits = admissible_temperatures(size, self.cutoff)
        temperature = temperature_from_displacement(row["delta_px"], size, self.cutoff)
        low, high = limits
        return {
            **row,
            "amount": row["delta_px"],
            "temperature": temperature,
            "temperature_low": low,
            "temperature_high": high,
            "is_admissible": float(low <= temperature * (1 + 1e-9) and temperature <= high * (1 + 1e-9)),
        }


def parse_amount(text: str, *, kind: str = DIFFEOMORPHISM, cutoff: int = 0) -> Amount:
    """Read an amount.

    Args:
        text: "1px", "0.5%", "5deg", with the kind before it or not; a number alone is in pixels, of a rotation in
            degrees, of a scaling in per cent.
        kind: Kind of an amount that names none.
        cutoff: Of a diffeomorphism.

    Raises:
        ArgumentError: It cannot be read, or is not above 0.
    """
    *before, last = str(text).split()[-2:] if " " in str(text).strip() else [str(text)]
    kind = before[0] if before else kind
    found = _AMOUNT.fullmatch(last)
    units = _UNITS.get(kind, ())
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        value = math.nan
    unit = (found[2] if found else "") or (units[0] if units and kind != "scaling" else "%")
    if not units or not (value > 0 and math.isfinite(value)) or unit not in units:
        condition = f"be a number above 0 with {' or '.join(units) or 'a known kind before it'}"
        raise ArgumentError({DIFFEOMORPHISM: "deltas"}.get(kind, f"{kind}s"), condition, repr(str(text)))
    return Amount(kind, value, unit, cutoff if kind == DIFFEOMORPHISM else 0)
