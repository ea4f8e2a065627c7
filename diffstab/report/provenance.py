"""Where the numbers of a report come from, and what to be careful about."""

import json

import pandas as pd

from diffstab.report.document import Section
from diffstab.report.numbers import number_text
from diffstab.report.tables import HEADLINE, column, counts_text, is_recorded
from diffstab.results.schema import describe, value_name

_DEFORMATIONS = {
    "delta_px": "asked δ {} px",
    "measured_delta_px": "measured δ {} px",
    "temperature": "temperature {}",
    "cutoff": "cut-off {}",
    "stability_images": "{} test images",
}
"""How the columns that describe deformations are shown; pages of runs without deformations have none of them."""


def subtitle(frame: pd.DataFrame) -> str:
    """Data sets, methods, sizes and seeds of the records in one line."""
    methods = sorted({value_name("method", method) for method in frame["method"]})
    sizes, seeds = sorted(frame["n_train"].unique()), frame["seed"].nunique()
    span = f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]} ({len(sizes)} sizes)"
    parts = [", ".join(sorted(frame["dataset"].unique())), ", ".join(methods), span]
    return " · ".join([*parts, f"{seeds} {'seed' if seeds == 1 else 'seeds'}", f"{len(frame)} runs"])


def cautions(frame: pd.DataFrame, *, records: int, absent: int) -> list[str]:
    """What a reader should know before trusting the numbers; empty where there is nothing.

    Args:
        frame: Records as returned by `tidy_records`.
        records: Number of records before that.
        absent: Number of cells without a record.

    Returns:
        Sentences.
    """
    found = []
    if absent:
        found.append(f"Runs of the grid without a record: {absent} (listed below).")
    if records > len(frame):
        found.append(f"Records left out, as they name no cell or were run again: {records - len(frame)}.")
    if unfinished := int((column(frame, "stop_reason") == "max_steps").sum()):
        found.append(f"Runs that used up their steps before they met their stop rule: {unfinished}.")
    if stalled := int((column(frame, "stop_reason") == "stalled").sum()):
        found.append(f"Runs whose training came to a halt before it met its stop rule: {stalled}.")
    folded = column(frame, "folded_share")
    if (folded > 0).any():
        found.append(
            f"Up to {number_text(100 * folded.max())} % of the deformations of a run fold the image."
        )
    for name in HEADLINE:
        blank = int(column(frame, name).isna().sum())
        if is_recorded(frame, name) and blank:
            found.append(f"{describe(name).heading} is missing or infinite in {blank} of {len(frame)} runs.")
    if (commits := column(frame, "git_commit").nunique()) > 1:
        found.append(f"The runs come from {commits} commits of the code.")
    if dirty := int(_is_dirty(frame).sum()):
        found.append(f"Runs made with uncommitted changes in the code: {dirty}.")
    return found


def provenance(frame: pd.DataFrame, *, config: str) -> Section:
    """Settings, code, machine and time behind the records, and the configuration as it stands.

    Args:
        frame: Records as returned by `tidy_records`.
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
        "Commits": counts_text(commits),
        "Machines": counts_text(column(frame, "hardware")),
        "Versions": "; ".join(_versions(text) for text in versions),
        "Started": " to ".join(dict.fromkeys([started.min(), started.max()])) if len(started) else "",
        "Time": f"{number_text(float(seconds.sum()))} s over all runs" if seconds.notna().any() else "",
    }
    if not any(name in frame for name in _DEFORMATIONS):
        del facts["Deformations"]
    known = [(label, value or "not recorded") for label, value in facts.items()]
    return Section("Settings and provenance", facts=known, source=config)


def _is_dirty(frame: pd.DataFrame) -> pd.Series:
    # A Boolean column may come back as text or with holes.
    return column(frame, "git_dirty").astype("str").str.lower().isin(["true", "1", "1.0"])


def _deformations(frame: pd.DataFrame) -> str:
    texts = []
    for name, text in _DEFORMATIONS.items():
        values = column(frame, name).dropna()
        if len(values):
            ends = dict.fromkeys(number_text(value) for value in (values.min(), values.max()))
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
