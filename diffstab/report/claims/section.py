"""What the sources say of the records of one folder, as a part of its page."""

from __future__ import annotations

import pandas as pd

from diffstab.report.claims.judging import Judgement, judge_records
from diffstab.report.claims.wording import source_text
from diffstab.report.document import BADGES, Section, Table, TableCell

_READING = (
    "A claim holds where the number, or its whole 95 % interval, lies where the source expects it at every place that "
    "is judged; it does not hold where one lies wholly outside; else it is undecided."
)
HEADERS = ("Verdict", "Claim", "Measured [95 % interval]", "Expected", "Draws", "Source")


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
    table = Table(
        "What the sources say of such data", HEADERS, [claim_cells(one) for one in judged], "claims"
    )
    return Section("What the sources say, and what was measured", [_READING], tables=[table], level=level)


def claim_cells(one: Judgement, *, link: str = "") -> list[TableCell]:
    """Return the row of a claim in a table.

    Args:
        one: What was found about it.
        link: Anchor that its verdict leads to; "" for none.
    """
    # Sorted from holds to not tested rather than by the alphabet.
    verdict = TableCell(one.verdict, f"{list(BADGES).index(one.verdict)} {one.verdict}", one.verdict, link)
    texts = (one.predicted or "–", one.draws or "–", source_text(one.claim))
    return [
        verdict,
        TableCell(one.claim.statement, one.claim.statement),
        TableCell(one.measured or "–", one.value),
        *(TableCell(text, text) for text in texts),
    ]
