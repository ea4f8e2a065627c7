"""What a page says, for programs: its answers, numbers, figures and cautions as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffstab.report.document import Document, Picture, Section, Table, TableCell


def page_json(document: Document, folder: Path) -> str:
    """Return the content of a page, which lies in a folder with its figures, as JSON.

    Returns:
        An object with ``title``, ``page``, ``findings`` (what is found, by its label), ``cautions``, ``tables``
        (with the text of each cell and its value) and ``figures`` (with their files).
    """
    sections = document.sections
    found = [pair for section in sections for pair in section.verdicts]
    tables = [_table(section, table) for section in sections for table in section.tables]
    pictures = [_figure(picture, folder) for section in sections for picture in section.pictures]
    content = {
        "title": document.title,
        "page": str(folder / "index.html"),
        "findings": dict(found),
        "cautions": list(document.notes),
        "tables": tables,
        "figures": pictures,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _table(section: Section, table: Table) -> dict[str, Any]:
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return {"section": section.title, "caption": table.caption, "columns": list(table.headers), "rows": rows}


def _cell(cell: TableCell) -> dict[str, Any]:
    """The text, and the number behind it where there is one."""
    number = cell.sort_key if cell.is_number else ""
    return {"text": cell.text, "value": float(number) if number else None}


def _figure(picture: Picture, folder: Path) -> dict[str, str]:
    files = {ending: str(folder / "figures" / f"{picture.stem}.{ending}") for ending in ("png", "pdf")}
    return {"name": picture.stem, "caption": picture.caption, **files}
