"""Where the numbers of a report come from, and what to be careful about."""

import json

import pandas as pd

from diffstab.report.document import Section
from diffstab.report.runs import Runs
from diffstab.report.tables import HEADLINE, column, is_recorded
from diffstab.report.words import column_of, counted, number_text

_DEFORMATIONS = {
    "delta_px": "δ = {} px",
    "measured_delta_px": "root mean square displacement of the fields drawn {} px",
    "temperature": "temperature {}",
    "cutoff": "cut-off {}",
    "stability_images": "{} test images",
}
"""How the columns that describe deformations are shown; pages of runs without deformations have none of them."""


def cautions(runs: Runs, *, asked: int) -> list[str]:
    """What a reader should know before trusting the numbers; empty where there is nothing.

    Args:
        runs: The runs.
        asked: Number of runs that the results folder is for; 0 where it does not say.
    """
    frame = runs.frame
    absent, left_out = asked - len(frame), runs.recorded - len(frame)
    reasons, folded = column(frame, "stop_reason"), column(frame, "folded_share").max()
    unfinished, stalled = (int((reasons == reason).sum()) for reason in ("max_steps", "stalled"))
    blanks = {name: int(column(frame, name).isna().sum()) for name in HEADLINE if is_recorded(frame, name)}
    commits, dirty = column(frame, "git_commit").nunique(), int(_is_dirty(frame).sum())
    said = [
        (
            absent > 0,
            f"{absent} of {counted(asked, 'run')} have no record yet. The same command goes on with them.",
        ),
        (
            left_out > 0,
            f"{counted(left_out, 'record')} left out: incomplete, or of runs that were repeated later.",
        ),
        (unfinished, f"{counted(unfinished, 'run')} used up all steps before training was complete."),
        (stalled, f"{counted(stalled, 'run')} came to a halt before training was complete."),
        (
            folded > 0,
            f"Deformations are so strong that up to {number_text(100 * folded)} % of those of a run fold the image "
            "over itself.",
        ),
        *(
            (count, f"{column_of(name).heading} is missing or infinite in {count} of {len(frame)} runs.")
            for name, count in blanks.items()
        ),
        (commits > 1, f"The runs were made by {commits} versions of the code."),
        (dirty, f"{counted(dirty, 'run')} made by code with changes that were not committed."),
    ]
    return [text for is_so, text in said if is_so]


def provenance(frame: pd.DataFrame, *, config: str) -> Section:
    """Settings, code, machine and time behind the records, and the configuration as it stands.

    Args:
        frame: Records, one row per run.
        config: Text of the configuration, "" for none.

    Returns:
        The section; what no record says reads "not recorded".
    """
    commits = column(frame, "git_commit").dropna().astype("str").str[:12]
    commits += _is_dirty(frame)[commits.index].map({True: " with uncommitted changes", False: ""})
    seconds, started = column(frame, "wall_seconds"), column(frame, "started_at").dropna().astype("str")
    versions = column(frame, "versions").dropna().astype("str").unique()
    facts = {
        "Records": str(len(frame)),
        "Deformations": _deformations(frame),
        "Code": _counted(commits),
        "Machine": _counted(column(frame, "hardware")),
        "Versions": "; ".join(_versions(text) for text in versions),
        "Started": " to ".join(dict.fromkeys(map(_minute, [started.min(), started.max()])))
        if len(started)
        else "",
        "Time": f"{_duration(float(seconds.sum()))} over all runs" if seconds.notna().any() else "",
    }
    if not any(name in frame for name in _DEFORMATIONS):
        del facts["Deformations"]
    known = [(label, value or "not recorded") for label, value in facts.items()]
    return Section("How the numbers were made", facts=known, source=config, anchor="provenance")


def _counted(values: pd.Series) -> str:
    """The different values, and of how many runs each is where there are several."""
    counts = values.dropna().astype("str").value_counts()
    return (
        counts.index[0]
        if len(counts) == 1
        else "; ".join(f"{value} ({counted(count, 'run')})" for value, count in counts.items())
    )


def _minute(text: str) -> str:
    """A recorded time to the minute: "2026-11-28 08:54 UTC"; text that is none as it stands."""
    time = pd.to_datetime(text, errors="coerce", utc=True)
    return text if pd.isna(time) else f"{time:%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float) -> str:
    """A time in the unit that a person would use."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{number_text(seconds / unit)} {name}"
    return f"{number_text(seconds)} s"


def _is_dirty(frame: pd.DataFrame) -> pd.Series:
    # A Boolean column may come back as text or with holes.
    return column(frame, "git_dirty").astype("str").str.lower().isin(["true", "1", "1.0"])


def _deformations(frame: pd.DataFrame) -> str:
    texts = []
    for name, text in _DEFORMATIONS.items():
        if is_recorded(frame, name):
            ends = dict.fromkeys(number_text(end) for end in (frame[name].min(), frame[name].max()))
            texts.append(text.format(" to ".join(ends)))
    return ", ".join(texts)


def _versions(text: str) -> str:
    """Versions stored as a JSON mapping, as a list for reading; other text as it stands."""
    try:
        versions = json.loads(text)
    except json.JSONDecodeError:
        return text
    if not isinstance(versions, dict):
        return text
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
