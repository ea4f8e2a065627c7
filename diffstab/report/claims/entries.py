"""Claims read from YAML; every word of an entry is checked when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, cast

from diffstab.errors import ArgumentError
from diffstab.report.claims.claim import Claim
from diffstab.report.rules import read_rule
from diffstab.report.statistics import statistic_named
from diffstab.report.statistics.expressions import columns_of
from diffstab.results import parse_yaml
from diffstab.results.schema import is_listed

FOLDER = Path(__file__).parent
KINDS = ("images", "sphere", "plateau", "forces")
_WORDS = {
    "kind": ("", *KINDS),
    "sizes": ("all", "larger half", "largest"),
    "show": ("last", "worst", "first", "mean"),
}
_TESTED, _UNTESTED = {"statistic", "rule"}, {"untested"}
_NAMES = {one.name for one in fields(Claim)}


@cache
def sources_claims() -> tuple[Claim, ...]:
    """Return all claims that come with diffstab, file by file."""
    return read_claims(FOLDER)


def read_claims(folder: str | Path) -> tuple[Claim, ...]:
    """Read the claims of all YAML files of a folder.

    A file has `sources`, a long name for each short one, and `claims`, a list of entries with the fields of `Claim`.
    An entry may hold `each`, entries that share the rest of its fields, and `for`, a list of words to put in: the
    entry is repeated for each of them with `{word}` filled in.

    Args:
        folder: Holds `*.yaml`.

    Raises:
        ArgumentError: If a word of an entry is not known; the message names file, claim and word.
    """
    found: dict[str, Claim] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        for entry in _entries(path):
            claim = _claim(entry, path)
            if claim.id in found:
                raise _refused(path, claim.id, ArgumentError("id", "be unique", repr(claim.id)))
            found[claim.id] = claim
    return tuple(found.values())


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    content = parse_yaml(path.read_bytes())
    if not isinstance(content, Mapping) or set(content) != {"sources", "claims"}:
        raise ArgumentError(str(path), "hold `sources` and `claims` alone", list(content or ()))
    for entry in content["claims"]:
        for one in _expanded(entry):
            source = one.get("source", "")
            if source not in content["sources"]:
                error = ArgumentError("source", f"be one of {', '.join(content['sources'])}", repr(source))
                raise _refused(path, one.get("id", "?"), error)
            yield {**one, "source": content["sources"][source]}


def _expanded(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shared = {key: value for key, value in entry.items() if key not in ("for", "each")}
    for words in entry.get("for", [{}]):
        for one in entry.get("each", [{}]):
            merged = {**shared, **one}
            inner = [merged] if "each" not in one and "for" not in one else _expanded(merged)
            for found in inner:
                yield cast("dict[str, Any]", _filled(found, words)) if words else dict(found)


def _filled(value: Any, words: Mapping[str, Any]) -> Any:
    """Put words into texts; a text that is one word alone becomes it, so that a number stays one."""
    if isinstance(value, Mapping):
        return {key: _filled(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, words) for one in value]
    if not isinstance(value, str):
        return value
    alone = [word for word in words if value == f"{{{word}}}"]
    if alone:
        return words[alone[0]]
    for word, text in words.items():
        value = value.replace(f"{{{word}}}", str(text))
    return value


def _claim(entry: Mapping[str, Any], path: Path) -> Claim:
    name = str(entry.get("id", "?"))
    try:
        _check_words(entry)
        stage, asked = entry.get("stage", ()), entry.get("statistic", "")
        options = (
            {key: value for key, value in asked.items() if key != "name"}
            if isinstance(asked, Mapping)
            else {}
        )
        given = dict(entry) | {
            "stage": (stage,) if isinstance(stage, str) else tuple(stage),
            "statistic": asked["name"] if isinstance(asked, Mapping) else asked,
            "options": options,
            "rule": read_rule(str(entry["rule"])) if "rule" in entry else None,
            "predicted": str(entry.get("predicted", "")),
        }
        claim = Claim(**given)
        _check_statistic(claim)
        _check_columns(claim)
    except ArgumentError as error:
        raise _refused(path, name, error) from error
    return claim


def _refused(path: Path, name: str, error: ArgumentError) -> ArgumentError:
    return ArgumentError(f"Claim {name} of {path}", "be one that can be judged", f"this: {error}")


def _check_words(entry: Mapping[str, Any]) -> None:
    if unknown := sorted(set(entry) - _NAMES):
        raise ArgumentError("an entry", f"have fields of {', '.join(sorted(_NAMES))}", unknown[0])
    needed = {"id", "source", "place", "statement"} | (_UNTESTED if "untested" in entry else _TESTED)
    if absent := sorted(needed - set(entry)):
        raise ArgumentError("an entry", f"have the field {absent[0]}", ", ".join(entry))
    for key, words in _WORDS.items():
        if entry.get(key, words[0]) not in words:
            raise ArgumentError(key, f"be one of {', '.join(filter(None, words))}", repr(entry[key]))


def _check_statistic(claim: Claim) -> None:
    if claim.untested:
        return
    known = statistic_named(claim.statistic)
    if unknown := sorted(set(claim.options) - known.options):
        takes = ", ".join(sorted(known.options)) or "nothing"
        raise ArgumentError(f"statistic {known.name}", f"be given {takes} beside its name", unknown[0])
    if absent := sorted(known.needed - set(claim.options)):
        raise ArgumentError(f"statistic {known.name}", f"be given {absent[0]}", "none")


def _check_columns(claim: Claim) -> None:
    named = columns_of(claim.value) if claim.value else set()
    named |= columns_of(claim.predicted) if claim.predicted else set()
    named |= {name for name in claim.where if not name.startswith("config.")} | (
        {claim.by} if claim.by else set()
    )
    if unknown := sorted(name for name in named if not is_listed(name)):
        raise ArgumentError("a column", "be listed in diffstab.results.schema", unknown[0])
