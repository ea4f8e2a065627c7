"""The page of a folder of plateaus: one HTML page and its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.claims.section import claims_section
from diffstab.report.document import Section
from diffstab.report.l2.plateau_pictures import case_pictures
from diffstab.report.l2.plateau_runs import (
    WITHOUT_WIDTH,
    Start,
    cases,
    optimisers,
    plateau_frame,
    run_settings,
    starts,
)
from diffstab.report.l2.plateau_tables import optimisers_table, solver_facts, widths_table
from diffstab.report.l2.plateau_verdicts import (
    agreement_verdict,
    bound_verdict,
    convergence_verdict,
    fewest_verdict,
    pruning_verdict,
    restart_verdict,
    start_verdict,
)
from diffstab.report.provenance import cautions, provenance, subtitle
from diffstab.report.swept import swept_options, told_apart
from diffstab.report.writing import read_config, write_page
from diffstab.results import read_records

_RULE = (
    "Rule of the start: the least width whose best loss over restarts, or that of a narrower net, is within {} % of "
    "the smallest loss of all widths. A narrower net counts because dead neurons make it a wider one of the same loss. "
    "The interval draws the restarts of each width again: it tells the luck of initialisations, not a minimum that no "
    "restart found."
)
_SOLVED = (
    "Stationarity is |gradient| over the sum of its parts' sizes, with the slopes at kinks of relu that cancel best; a "
    "run counts as converged where it is small enough, for the covariances where the gap is closed. A stationary point "
    "need not be the minimum."
)


def write_plateau_report(folder: str | Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.png|pdf`` of a folder of plateaus.

    The page needs no other file and no network. It takes the place of an old report when it is complete.

    Args:
        folder: Results folder as written by `diffstab plateau`.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder has no readable records or cannot be written to.
    """
    folder = Path(folder)
    records = read_records(folder)
    frame = plateau_frame(told_apart(records, folder))
    source, config = read_config(folder / "config.yaml")
    settings = run_settings(frame, config)
    tolerance = float(settings["plateau_tolerance"])
    found = {title: starts(part, tolerance=tolerance) for title, part in cases(frame)}
    parts = [Section("What the numbers say", [_RULE.format(f"{100 * tolerance:g}")])]
    parts += [findings(title, part, found[title], settings) for title, part in cases(frame)]
    for title, part in cases(frame):
        parts += case_sections(title, part, found[title], settings)
    parts.append(provenance(frame, config=source))
    notes = [*cautions(frame, records=len(frame), absent=0), *plateau_cautions(frame, found)]
    swept = swept_options(records, folder)
    if not swept and (absent := grid_size(config) - len(frame)) > 0:
        notes.insert(0, f"Runs of the grid without a record: {absent}. The same command makes them.")
    return write_page(folder, subtitle(frame), parts=parts, notes=notes)


def grid_size(config: Mapping[str, Any]) -> int:
    """Return how many runs a configuration asks for; 0 where it does not say."""
    axes = [config.get(name) for name in ("n_train", "seeds", "widths", "optimisers")]
    restarts = config.get("restarts")
    if not all(isinstance(axis, list) for axis in axes) or not isinstance(restarts, int):
        return 0
    sizes, seeds, widths, methods = (list(axis or ()) for axis in axes)
    # The covariances find their width, and shrinking goes through the widths once.
    runs = {WITHOUT_WIDTH: 1, "shrinking": len(widths)}
    return len(sizes) * len(seeds) * sum(runs.get(method, len(widths) * restarts) for method in methods)


def findings(title: str, part: pd.DataFrame, found: list[Start], settings: Mapping[str, Any]) -> Section:
    """Where a plateau starts, what theory says, whether optimisers agree and pruned nets keep their loss."""
    tolerance = float(settings["plateau_tolerance"])
    verdicts = {
        "Where does the plateau start?": start_verdict(found, tolerance=tolerance),
        "Do fewer neurons suffice?": fewest_verdict(part, found, tolerance=tolerance),
        "Do the optimisers agree?": agreement_verdict(part),
        "How low can it be?": bound_verdict(part),
        "Is the pruned wide net as good?": pruning_verdict(part, settings),
        "Did restarts fail?": restart_verdict(found),
        "Did they converge?": convergence_verdict(part),
    }
    return Section(title, verdicts=[(label, text) for label, text in verdicts.items() if text], level=3)


def case_sections(
    title: str, part: pd.DataFrame, found: list[Start], settings: Mapping[str, Any]
) -> list[Section]:
    """The figures of one data set and size, the source beside them, and the tables."""
    tables = Section(
        "How it was minimised",
        [_SOLVED],
        tables=[optimisers_table(part), widths_table(part, found)],
        facts=solver_facts(part),
        level=3,
    )
    if not found:
        return [Section(title), tables]
    said = claims_section(part, "plateau", level=3)
    pictures = Section(title, pictures=case_pictures(part, found, settings))
    return [pictures, *([said] if said else []), tables]


def plateau_cautions(frame: pd.DataFrame, found: Mapping[str, list[Start]]) -> list[str]:
    """What to know before trusting the plateaus."""
    notes = []
    if unfinished := int((~frame["converged"].astype("bool")).sum()):
        notes.append(f"Runs that did not converge: {unfinished} of {len(frame)}.")
    for title, rows in found.items():
        unseen = [row for row in rows if not row.found.reached]
        if unseen:
            notes.append(f"No plateau seen for {title}: {len(unseen)} of {len(rows)} curves. Try wider nets.")
        if not rows and optimisers(frame):
            notes.append(f"No minimum of finite loss for {title}.")
    if not np.isfinite(frame["loss"]).all():
        count = int((~np.isfinite(frame["loss"])).sum())
        notes.append(f"Restarts that met no targets, and so have no loss: {count}.")
    return notes
