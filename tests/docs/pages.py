"""The README and the pages of docs/, taken apart into their blocks."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w/-]+\.(?:py|yaml))\b")


class Block(NamedTuple):
    """A block of code.

    Attributes:
        page: It stands in, as a path from the root.
        number: Its place among the blocks of the page, from 1.
        language: python, yaml, sh or text.
        code: What stands in it.
        shown: What stands below it in a block `text`; "" for nothing.
    """

    page: str
    number: int
    language: str
    code: str
    shown: str

    @property
    def file(self):
        """Name of the file that the block says it is, in a comment that it begins with; "" for none."""
        found = _FILE.match(self.code)
        return found[1] if found else ""

    def __str__(self):
        return f"{self.page}, {self.number}"


BLOCKS = [
    Block(page, number, *parts)
    for page, text in TEXTS.items()
    for number, parts in enumerate(_BLOCK.findall(text), start=1)
]


def blocks(language):
    """All blocks of a language."""
    return [block for block in BLOCKS if block.language == language]


def write_files(page, folder):
    """Write the files that a page shows into a folder."""
    for block in BLOCKS:
        if block.page == page and block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
