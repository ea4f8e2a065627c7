"""Verdicts as a table of a file, and their numbers in the texts of the documentation."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from diffstab.errors import ResultsError
from diffstab.report.claims.judging import Judgement
from diffstab.report.claims.wording import counts_text, source_text
from diffstab.report.rules import DOES_NOT
from diffstab.results import write_atomically

NAME = "claims.csv"
"""Of the file of verdicts beside the page."""
_COLUMNS = ("claim", "verdict", "value", "measured", "predicted", "draws", "source", "statement", "detail")
_MARKED = re.compile(r"(<!-- claims (\w+) -->\n?)(.*?)(\n?<!-- end -->)", re.DOTALL)


def verdicts_csv(judged: Iterable[Judgement]) -> bytes:
    """Return the verdicts as comma-separated values, a line for each claim."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for one in judged:
        head = (one.claim.id, one.verdict, f"{one.value:.6g}", one.measured, one.predicted, one.draws)
        lines.writerow([*head, source_text(one.claim), one.claim.statement, one.detail])
    return text.getvalue().encode("utf-8")


def read_verdicts(path: Path) -> list[dict[str, str]]:
    """Return the lines of a file that `verdicts_csv` has made.

    Raises:
        ResultsError: If there is no such file.
    """
    if not path.is_file():
        raise ResultsError(f"There is no {path}. `diffstab paper` writes it beside its page.")
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def marked_texts(lines: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what stands between the marks of a document, by the name of the mark."""
    against = [f"- {line['statement']} ({line['measured']})" for line in lines if line["verdict"] == DOES_NOT]
    return {
        "counts": counts_text(line["verdict"] for line in lines),
        "total": str(len(lines)),
        "against": "\n".join(against),
    }


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
    texts = marked_texts(lines)
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
