"""What a page says, as JSON."""

import json
import math
from pathlib import Path

from diffstab.report.document import Document, Section, Table, TableCell
from diffstab.report.page_json import page_json


def test_every_kind_of_content_is_there():
    cells = [
        TableCell("12 % [8, 18]", 0.124),
        TableCell("–", math.nan),
        TableCell("holds", "0 holds", "holds"),
    ]
    table = Table("Means", ["Test error", "D", "Verdict"], [cells])
    sections = [Section("In short", verdicts=[("Answer", "R is 2.")]), Section("Numbers", tables=[table])]
    content = json.loads(page_json(Document("A title", "", "", sections, ["Few draws."]), Path("x/report")))
    assert content["title"] == "A title"
    assert content["page"] == "x/report/index.html"
    assert content["findings"] == {"Answer": "R is 2."}
    assert content["cautions"] == ["Few draws."]
    (found,) = content["tables"]
    assert (found["section"], found["columns"]) == ("Numbers", ["Test error", "D", "Verdict"])
    assert [cell["value"] for cell in found["rows"][0]] == [0.124, None, None]
    assert [cell["text"] for cell in found["rows"][0]] == ["12 % [8, 18]", "–", "holds"]
