"""How long runs take, by the measured time of others."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from diffstab.results import canonical_json

_DRAWS = ("seed", "restart", "seed_everything")
"""Coordinates that do not change how long a run takes."""

_STEEPEST = 4.0
"""Largest exponent of a power law, whose least is 0: runs cost at most the fourth power of a count, and never less."""

Place = tuple[tuple[str, Any], ...]
"""Coordinates of a run but for its draw, sorted by name."""


def place(coordinates: Mapping[str, Any]) -> Place:
    """Return the coordinates of a run that its time may depend on."""
    return tuple(
        (name, value if isinstance(value, int | float | str) else canonical_json(value))
        for name, value in sorted(coordinates.items())
        if name not in _DRAWS
    )


class Forecast:
    """Seconds of runs by their place.

    A place that was measured has the median of its times. Another one has what a power law in the counts (whole
    numbers of at least 1, as n_train) gives that is fitted to the places of its kind, those that differ from it in
    positive numbers only; positive numbers that are no counts, as alpha, are averaged over.
    """

    def __init__(self) -> None:
        self._times: defaultdict[Place, list[float]] = defaultdict(list)

    def add(self, where: Place, seconds: float) -> None:
        """Take in a measured time."""
        self._times[where].append(seconds)

    @property
    def mean(self) -> float | None:
        """Mean of all measured times; None before there is one."""
        times = [seconds for measured in self._times.values() for seconds in measured]
        return statistics.fmean(times) if times else None

    def is_measured(self, where: Place) -> bool:
        """Whether a time was measured at the very place."""
        return where in self._times

    def seconds(self, places: Iterable[Place]) -> dict[Place, float]:
        """Return the expected time at each place, without those of whose kind nothing was measured."""
        known: defaultdict[Hashable, dict[Place, float]] = defaultdict(dict)
        for where, times in self._times.items():
            known[_kind(where)][where] = statistics.median(times)
        asked: defaultdict[Hashable, list[Place]] = defaultdict(list)
        for where in places:
            asked[_kind(where)].append(where)
        found: dict[Place, float] = {}
        for kind, wanted in asked.items():
            measured = known.get(kind, {})
            found |= {where: measured[where] for where in wanted if where in measured}
            rest = [where for where in wanted if where not in measured]
            if measured and rest:
                found |= dict(zip(rest, _power_law(measured, rest), strict=True))
        return found


def _kind(where: Place) -> Hashable:
    """Return a place without the values of its positive numbers."""
    return tuple((name, "positive" if _is_positive(value) else (value,)) for name, value in where)


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and value > 0  # type: ignore[operator]


def _power_law(measured: Mapping[Place, float], wanted: Sequence[Place]) -> list[float]:
    rows = [dict(where) for where in (*measured, *wanted)]
    counts = [name for name in rows[0] if all(_is_positive(row[name]) and row[name] % 1 == 0 for row in rows)]
    logs = np.log(np.array([[row[name] for name in counts] for row in rows], dtype=np.float64))
    times = np.log(np.maximum(np.array(list(measured.values())), 1e-9))
    here = logs[: len(measured)]
    centre = here.mean(axis=0)
    # A little regularisation: a count that has not varied yet changes nothing.
    spread = (here - centre).T @ (here - centre) + 1e-6 * np.eye(len(counts))
    slopes = np.linalg.solve(spread, (here - centre).T @ (times - times.mean()))
    slopes = slopes.clip(0, _STEEPEST)
    return [float(value) for value in np.exp(times.mean() + (logs[len(measured) :] - centre) @ slopes)]
