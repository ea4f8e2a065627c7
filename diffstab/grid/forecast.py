"""How long runs take, by the measured time of others."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffstab.grid.plan import Run
from diffstab.progress import duration
from diffstab.results import Records, canonical_json, run_seconds

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
        self._times: defaultdict[Hashable, dict[Place, list[float]]] = defaultdict(dict)

    def add(self, where: Place, seconds: float) -> None:
        """Take in a measured time."""
        self._times[_kind(where)].setdefault(where, []).append(seconds)

    @property
    def mean(self) -> float | None:
        """Mean of all measured times; None before there is one."""
        times = [
            seconds for kind in self._times.values() for measured in kind.values() for seconds in measured
        ]
        return statistics.fmean(times) if times else None

    def is_measured(self, where: Place) -> bool:
        """Whether a time was measured at the very place."""
        return where in self._times.get(_kind(where), {})

    def seconds(self, places: Iterable[Place]) -> dict[Place, float]:
        """Return the expected time at each place, without those of whose kind nothing was measured."""
        found: dict[Place, float] = {}
        laws: dict[Hashable, Callable[[Place], float]] = {}
        for where in places:
            kind = _kind(where)
            if times := self._times.get(kind, {}).get(where):
                found[where] = statistics.median(times)
            elif kind in self._times:
                if kind not in laws:
                    laws[kind] = _power_law(self._times[kind])
                found[where] = laws[kind](where)
        return found


def _kind(where: Place) -> Hashable:
    """Return a place without the values of its positive numbers."""
    return tuple((name, "positive" if _is_positive(value) else (value,)) for name, value in where)


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and value > 0  # type: ignore[operator]


def _power_law(measured: Mapping[Place, Sequence[float]]) -> Callable[[Place], float]:
    """Return the power law in the counts that is fitted to the medians of measured times."""
    rows = [dict(where) for where in measured]
    counts = [name for name in rows[0] if all(_is_positive(row[name]) and row[name] % 1 == 0 for row in rows)]
    logs = np.log(np.array([[row[name] for name in counts] for row in rows], dtype=np.float64))
    times = np.log(np.maximum([statistics.median(one) for one in measured.values()], 1e-9))
    centre = logs.mean(axis=0)
    # A little regularisation: a count that has not varied yet changes nothing.
    spread = (logs - centre).T @ (logs - centre) + 1e-6 * np.eye(len(counts))
    slopes = np.linalg.solve(spread, (logs - centre).T @ (times - times.mean())).clip(0, _STEEPEST)

    def seconds(where: Place) -> float:
        at = dict(where)
        return float(np.exp(times.mean() + (np.log([at[name] for name in counts]) - centre) @ slopes))

    return seconds


@dataclass(frozen=True)
class Expected:
    """Time that runs are expected to take, by the earlier records of their folder.

    Attributes:
        seconds: Of the runs with an expectation, one after another.
        longest: Of one batch.
        alike: Number of runs that have records alike but for the seed; the median of these is expected.
        fitted: Number of other runs, for which a power law through earlier ones is taken; see `Forecast`.
        unknown: Number of runs without a record to go by; their time is in no sum.
    """

    seconds: float = 0.0
    longest: float = 0.0
    alike: int = 0
    fitted: int = 0
    unknown: int = 0

    def on(self, workers: int) -> float:
        """Return the seconds on so many workers, if none waits for another."""
        return max(self.seconds / workers, self.longest)

    def text(self, workers: int) -> str:
        """Return it in words."""
        if not self.alike + self.fitted:
            unknown = "Time: unknown, as there are no records of such runs yet."
            return unknown if self.unknown else "Nothing to do."
        many = "1 worker" if workers == 1 else f"{workers} workers"
        parts = [f"{self.alike} by earlier runs that differ in the seed only"] if self.alike else []
        parts += [f"{self.fitted} by a power law through earlier runs"] if self.fitted else []
        parts += [f"{self.unknown} more of unknown time"] if self.unknown else []
        return f"Time: about {duration(self.on(workers))} on {many} ({', '.join(parts)})."


def expected(todo: Sequence[Run], records: Records, known: Iterable[Run]) -> Expected:
    """Return the time that runs are expected to take.

    Args:
        todo: The runs.
        records: Where the times of others are.
        known: Runs of which there may be records.
    """
    forecast, seconds = Forecast(), run_seconds(records)
    for key, run in {run.key: run for run in known}.items():
        if key in seconds:
            forecast.add(place(run.coordinates), seconds[key])
    places = {run.key: place(run.coordinates) for run in todo}
    found = forecast.seconds(set(places.values()))
    counts: Counter[str] = Counter()
    batches: defaultdict[int, float] = defaultdict(float)
    for run in todo:
        where = places[run.key]
        counts["unknown" if where not in found else "alike" if forecast.is_measured(where) else "fitted"] += 1
        batches[run.batch] += found.get(where, 0.0)
    return Expected(sum(batches.values()), max(batches.values(), default=0.0), **counts)
