"""Verdicts as a table of a file, and their numbers in the texts of the documentation."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.correction import corrected
from diffstab.report.claims.judging import Judgement
from diffstab.report.claims.power import power_table
from diffstab.report.claims.rules import DOES_NOT, HOLDS
from diffstab.report.claims.wording import counts_text
from diffstab.results import write_atomically

NAME = "claims.csv"
"""Of the file of verdicts beside the page."""
_MARKED = re.compile(r"(<!-- claims (\w+) -->\n?)(.*?)(\n?<!-- end -->)", re.DOTALL)


def verdicts_csv(judged: Sequence[Judgement]) -> bytes:
    """Return the verdicts as comma-separated values, a line for each claim, with p-values raw and adjusted."""
    lines = [
        {
            "claim": one.claim.id,
            "verdict": one.verdict,
            "cannot_fail": "yes" if one.claim.certain else "",
            "p": _short(one.p_value),
            "q_bh": _short(adjusted.bh),
            "q_by": _short(adjusted.by),
            "value": f"{one.value:.6g}",
            **{name: getattr(one, name) for name in ("measured", "predicted", "draws")},
            "source": one.claim.reference,
            "statement": one.claim.statement,
            "detail": one.detail,
        }
        for one, adjusted in zip(judged, corrected(judged), strict=True)
    ]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n").encode("utf-8")


def _short(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else ""


def read_verdicts(path: Path) -> list[dict[str, str]]:
    """Return the lines of a file that `verdicts_csv` has made.

    Raises:
        ResultsError: If there is no such file.
    """
    if not path.is_file():
        raise ResultsError(f"There is no {path}. `diffstab paper` writes it beside its page.")
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def write_marked(path: Path, lines: Sequence[Mapping[str, str]]) -> int:
    """Write the numbers of verdicts between the marks of a document, `<!-- claims counts -->...<!-- end -->`.

    Args:
        path: Text with marks named counts, total, against or power (error rates of the rules, simulated in seconds).
        lines: Of the file of verdicts.

    Returns:
        How many marks were filled.

    Raises:
        ResultsError: If a mark has another name, or there is none.
    """
    against = [f"- {line['statement']} ({line['measured']})" for line in lines if line["verdict"] == DOES_NOT]
    certain = sum(bool(line["cannot_fail"]) and line["verdict"] == HOLDS for line in lines)
    counts = counts_text((line["verdict"] for line in lines), certain=certain)
    texts = {"counts": counts, "total": str(len(lines))}
    texts["against"] = "\n".join(against)
    text = path.read_text(encoding="utf-8")
    names = [found[2] for found in _MARKED.finditer(text)]
    if "power" in names:
        texts["power"] = power_table()
    if not names or (unknown := sorted(set(names) - set(texts))):
        found = f"the mark {unknown[0]}" if names else "no mark"
        raise ResultsError(
            f"{path} has {found}. Marks are <!-- claims counts|total|against|power -->...<!-- end -->."
        )
    filled = _MARKED.sub(lambda found: found[1] + texts[found[2]] + found[4], text)
    write_atomically(path, filled.encode("utf-8"))
    return len(names)
