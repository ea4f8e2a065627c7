"""Time several cases in turn, so that a busy machine slows all of them alike."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence


def in_turn(names: Iterable[str], seconds: Callable[[str], float], repeats: int) -> dict[str, list[float]]:
    """The seconds of each case, by its name: every case once, then every case again."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, past in times.items():
            past.append(seconds(name))
    return times


def compared(times: Mapping[str, Sequence[float]], baseline: str) -> dict[str, str]:
    """The median, least and most seconds of each case, and its ratio to a baseline, as text."""
    base = statistics.median(times[baseline])
    return {
        name: f"{statistics.median(past):8.2f} s ({min(past):.2f} to {max(past):.2f}), "
        f"{statistics.median(past) / base:5.2f} x baseline"
        for name, past in times.items()
    }
