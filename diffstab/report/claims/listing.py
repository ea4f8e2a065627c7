"""Verdicts as a table of a file, and their numbers in the texts of the documentation."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.judging import Judgement
from diffstab.report.claims.rules import DOES_NOT
from diffstab.report.claims.wording import counts_text
from diffstab.results import write_atomically

NAME = "claims.csv"
"""Of the file of verdicts beside the page."""
_MARKED = re.compile(r"(<!-- claims (\w+) -->\n?)(.*?)(\n?<!-- end -->)", re.DOTALL)


def verdicts_csv(judged: Iterable[Judgement]) -> bytes:
    """Return the verdicts as comma-separated values, a line for each claim."""
    lines = [
        {
            "claim": one.claim.id,
            "verdict": one.verdict,
            "value": f"{one.value:.6g}",
            **{name: getattr(one, name) for name in ("measured", "predicted", "draws")},
            "source": one.claim.reference,
            "statement": one.claim.statement,
            "detail": one.detail,
        }
        for one in judged
    ]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n").encode("utf-8")


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
        path: Text with marks named counts, total or against.
        lines: Of the file of verdicts.

    Returns:
        How many marks were filled.

    Raises:
        ResultsError: If a mark has another name, or there is none.
    """
    against = [f"- {line['statement']} ({line['measured']})" for line in lines if line["verdict"] == DOES_NOT]
    texts = {"counts": counts_text(line["verdict"] for line in lines), "total": str(len(lines))}
    texts["against"] = "\n".join(against)
    text = path.read_text(encoding="utf-8")
    names = [found[2] for found in _MARKED.finditer(text)]
    if not names or (unknown := sorted(set(names) - set(texts))):
        found = f"the mark {unknown[0]}" if names else "no mark"
        raise ResultsError(
            f"{path} has {found}. Marks are <!-- claims counts|total|against -->...<!-- end -->."
        )
    filled = _MARKED.sub(lambda found: found[1] + texts[found[2]] + found[4], text)
    write_atomically(path, filled.encode("utf-8"))
    return len(names)
