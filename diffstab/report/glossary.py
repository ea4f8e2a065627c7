"""The words of the pages, each defined in a line, and numbers with their nouns."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from diffstab.report.numbers import number_text
from diffstab.results import parse_yaml

WORDS: dict[str, str] = parse_yaml(Path(__file__).with_suffix(".yaml").read_bytes())
"""One line per word, by the word as pages print it."""


def defined(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return words with their definitions; those that need none are left out."""
    return [(word, WORDS[word]) for word in dict.fromkeys(words) if word in WORDS]


def listed(values: Sequence[object]) -> str:
    """Values in words: "64, 256 and 1024"; "none" for none."""
    texts = [str(value) for value in values] or ["none"]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 draw", "5 draws"."""
    return f"{number_text(count)} {noun}{'' if count == 1 else 's'}"


def span(counts: Sequence[int], noun: str) -> str:
    """A range of numbers with its noun: "5 to 15 draws"."""
    low, high = min(counts), max(counts)
    return counted(low, noun) if low == high else f"{low} to {counted(high, noun)}"
