"""The time that runs are expected to take, by the records of others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from diffstab.grid.forecast import Forecast, place
from diffstab.progress import duration
from diffstab.results import Records, run_seconds


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
            return (
                "Time: unknown, as there are no records of such runs yet."
                if self.unknown
                else "Nothing to do."
            )
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
    forecast = Forecast()
    seconds = run_seconds(records)
    for key, run in {run.key: run for run in known}.items():
        if key in seconds:
            forecast.add(place(run.coordinates), seconds[key])
    places = {run.key: place(run.coordinates) for run in todo}
    found = forecast.seconds(set(places.values()))
    counts: Counter[str] = Counter()
    batches: defaultdict[int, float] = defaultdict(float)
    for run in todo:
        where = places[run.key]
        kind = "unknown" if where not in found else "alike" if forecast.is_measured(where) else "fitted"
        counts[kind] += 1
        batches[run.batch] += found.get(where, 0.0)
    return Expected(sum(batches.values()), max(batches.values(), default=0.0), **counts)
