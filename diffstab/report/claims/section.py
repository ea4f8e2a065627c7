"""What the sources say of the records of one folder, as a part of its page."""

from __future__ import annotations

import pandas as pd

from diffstab.report.claims.judging import Judgement, judge_records
from diffstab.report.claims.wording import rule_text, source_text
from diffstab.report.document import BADGES, Section


def claims_section(records: pd.DataFrame, kind: str, *, level: int = 2) -> Section | None:
    """Return the claims of the sources about the records of a folder, each with its verdict; None where there is none.

    Args:
        records: Made ready for its page.
        kind: What they are of: images, sphere, plateau or forces.
        level: Of the heading.
    """
    judged = judge_records(records, kind)
    if not judged:
        return None
    listed = [(f"{BADGES[one.verdict]} {one.verdict}", sentence(one)) for one in judged]
    return Section("What the sources say, and what was measured", verdicts=listed, level=level)


def sentence(one: Judgement) -> str:
    """Return a claim with its number and its rule, for reading."""
    expected = f", expected {one.predicted}" if one.predicted else ""
    number = f"Measured: {one.measured}{expected} ({one.draws})."
    return f"{one.claim.statement} {number} {rule_text(one.claim)} ({source_text(one.claim)})"
