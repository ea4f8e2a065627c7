"""The time that runs are expected to take, by the records of others."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, log
from typing import Any, NamedTuple

from diffstab.errors import ArgumentError
from diffstab.results import Records, canonical_json
from diffstab.sweep.display import duration

_DRAWS = ("seed", "restart")
"""Coordinates that do not change how long a run takes."""

_TIMES = (["wall_seconds"], ["train_seconds", "runs_together"])
"""Columns of a record with its time, or with the time of a batch and its number of runs."""

Place = tuple[tuple[str, Any], ...]
"""Coordinates of a run but for its draw, sorted by name."""


class Run(NamedTuple):
    """A run of a sweep.

    Attributes:
        key: Name of its record.
        batch: Number of the batch that it is run in.
        label: What the batch is, in words.
        coordinates: What distinguishes it: the options that the sweep sets and its place within its experiment.
    """

    key: str
    batch: int
    label: str
    coordinates: Mapping[str, Any]


@dataclass(frozen=True)
class Expected:
    """Time that runs are expected to take, by the earlier records of their folder.

    Attributes:
        seconds: Of the runs with an expectation, one after another.
        longest: Of one batch.
        alike: Number of runs that have records alike but for the seed; the median of these is expected.
        near: Number of other runs, for which the median at the nearest coordinates is taken as it is.
        unknown: Number of runs without a record to go by; their time is in no sum.
    """

    seconds: float = 0.0
    longest: float = 0.0
    alike: int = 0
    near: int = 0
    unknown: int = 0

    def on(self, workers: int) -> float:
        """Return the seconds on so many workers, if none waits for another."""
        return max(self.seconds / workers, self.longest)

    def text(self, workers: int) -> str:
        """Return it in words."""
        if not self.alike + self.near:
            return (
                "Time: unknown, as there are no records of such runs yet."
                if self.unknown
                else "Nothing to do."
            )
        many = "1 worker" if workers == 1 else f"{workers} workers"
        parts = [f"{self.alike} by earlier runs that differ in the seed only"] if self.alike else []
        parts += [f"{self.near} by the nearest earlier runs"] if self.near else []
        parts += [f"{self.unknown} more of unknown time"] if self.unknown else []
        return f"Time: about {duration(self.on(workers))} on {many} ({', '.join(parts)})."


def expected(todo: Iterable[Run], records: Records, known: Iterable[Run]) -> Expected:
    """Return the time that runs are expected to take.

    Runs that differ in the draw only (seed, restart) are alike. Of other runs the nearest count whose coordinates
    without a number are the same, by the sum of |log(a / b)| over the positive numbers.

    Args:
        todo: The runs.
        records: Where the times of others are.
        known: Runs of which there may be records.
    """
    medians = _medians(records, known)
    found: dict[Place, float | None] = {}
    counts: Counter[str] = Counter()
    batches: defaultdict[int, float] = defaultdict(float)
    for run in todo:
        place = _place(run)
        if place not in found:
            found[place] = medians.get(place, _nearest(place, medians))
        seconds = found[place]
        counts["unknown" if seconds is None else "alike" if place in medians else "near"] += 1
        batches[run.batch] += seconds or 0.0
    return Expected(sum(batches.values()), max(batches.values(), default=0.0), **counts)


def _medians(records: Records, known: Iterable[Run]) -> dict[Place, float]:
    """Return the median time of the recorded runs at each place."""
    seconds = _measured(records)
    measured: defaultdict[Place, list[float]] = defaultdict(list)
    for key, run in {run.key: run for run in known}.items():
        if key in seconds:
            measured[_place(run)].append(seconds[key])
    return {place: statistics.median(times) for place, times in measured.items()}


def _measured(records: Records) -> dict[str, float]:
    """Return the seconds of each record that tells them."""
    for columns in _TIMES if records.keys() else ():
        try:
            frame = records.read(["key", *columns]).dropna()
        except ArgumentError:  # records of another command
            continue
        shares = frame.get("runs_together", 1)
        return dict(zip(frame["key"], (frame[columns[0]] / shares).astype("float64")))
    return {}


def _place(run: Run) -> Place:
    plain = {name: value for name, value in run.coordinates.items() if name not in _DRAWS}
    return tuple(
        (name, value if isinstance(value, int | float | str) else canonical_json(value))
        for name, value in sorted(plain.items())
    )


def _nearest(place: Place, medians: Mapping[Place, float]) -> float | None:
    nearest = min(medians, key=lambda other: _distance(place, other), default=None)
    return None if nearest is None or _distance(place, nearest) == inf else medians[nearest]


def _distance(one: Place, other: Place) -> float:
    if [name for name, _ in one] != [name for name, _ in other]:
        return inf
    return sum(_apart(a, b) for (_, a), (_, b) in zip(one, other))


def _apart(a: Any, b: Any) -> float:
    if a == b:
        return 0.0
    comparable = all(type(value) in (int, float) and value > 0 for value in (a, b))
    return abs(log(a / b)) if comparable else inf
