"""Claims read from YAML; every word of an entry is checked when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from yaml import YAMLError

from diffstab.errors import ArgumentError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.rules import read_rule
from diffstab.report.claims.statistics import statistic_named
from diffstab.report.claims.statistics.expressions import columns_of
from diffstab.results import parse_yaml
from diffstab.results.schema import is_listed

_LAST = 1000
_FIELDS = {one.name for one in fields(Claim)}
_WORDS = {
    "kind": ("", "images", "sphere", "plateau", "forces", "hierarchy", "bottleneck", "leaky"),
    "sizes": ("all", "larger half", "largest"),
    "show": ("worst", "last", "first", "mean"),
}


@cache
def sources_claims() -> tuple[Claim, ...]:
    """Return all claims that come with diffstab, file by file."""
    return read_claims(Path(__file__).parent)


def read_claims(folder: str | Path) -> tuple[Claim, ...]:
    """Read the claims of all files `*.yaml` of a folder.

    A file has `sources`, a long name for each short one, `claims`, a list of entries with the fields of `Claim`, and
    perhaps `words` that entries use as `{word}` and a number `order`, its place among the files. An entry with `each`
    stands for the entries listed there, which share the fields of `with` and are repeated for each mapping of words in
    `for`.

    Raises:
        ArgumentError: If a word of an entry is not known; the message names file, claim and word.
    """
    found: dict[str, Claim] = {}
    files = {path: _content(path) for path in sorted(Path(folder).glob("*.yaml"))}
    for path, content in sorted(files.items(), key=lambda item: item[1].get("order", _LAST)):
        for entry in _expanded({"each": content["claims"], "for": [content.get("words", {})]}):
            name = entry.get("id", "?")
            try:
                _check(entry, content["sources"], found)
                found[name] = _claim(entry, content["sources"])
            except ArgumentError as error:
                raise ArgumentError(f"Claim {name} of {path}", "be sound", f"this: {error}") from error
    return tuple(found.values())


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_yaml(path.read_bytes())
    except YAMLError as error:
        raise ArgumentError(str(path), "be YAML", f"this: {error}") from error
    needed, further = {"sources", "claims"}, {"words", "order"}
    if not isinstance(content, Mapping) or not needed <= set(content) <= needed | further:
        condition = "hold `sources`, `claims`, perhaps `words`, `order`"
        raise ArgumentError(str(path), condition, list(content or ()))
    return content


def _expanded(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the entries that an entry stands for, with all fields that they share and all words filled in."""
    if "each" not in entry:
        yield dict(entry)
        return
    if unknown := sorted(set(entry) - {"with", "for", "each"}):
        raise ArgumentError("an entry with `each`", "have `with` and `for` alone beside it", unknown[0])
    for words in entry.get("for", [{}]):
        for inner in entry["each"]:
            for one in _expanded(inner):
                yield {key: _filled(value, words) for key, value in {**entry.get("with", {}), **one}.items()}


def _filled(value: Any, words: Mapping[str, Any]) -> Any:
    """Put words into texts; a text that is one word alone becomes it, so that a number stays one."""
    if isinstance(value, Mapping):
        return {key: _filled(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, words) for one in value]
    for word, text in words.items() if isinstance(value, str) else ():
        if value == f"{{{word}}}":
            return text
        value = value.replace(f"{{{word}}}", str(text))
    return value


def _check(entry: Mapping[str, Any], sources: Mapping[str, str], known: Mapping[str, Claim]) -> None:
    """Refuse fields, and words in them, that there are not."""
    if unknown := sorted(set(entry) - _FIELDS):
        raise ArgumentError("an entry", f"have fields of {', '.join(sorted(_FIELDS))}", unknown[0])
    needed = {"id", "source", "place", "statement"}
    needed |= set() if "untested" in entry else {"statistic", "rule"}
    if absent := sorted(needed - set(entry)):
        raise ArgumentError("an entry", f"have the field {absent[0]}", ", ".join(entry))
    if entry["id"] in known:
        raise ArgumentError("id", "be unique", repr(entry["id"]))
    for key, words in {**_WORDS, "source": tuple(sources)}.items():
        if entry.get(key, words[0]) not in words:
            raise ArgumentError(key, f"be one of {', '.join(filter(None, words))}", repr(entry[key]))


def _check_margin(claim: Claim) -> None:
    """Refuse a margin without a reason, and one beside a rule that it does not go with."""
    is_one_sided = claim.rule is not None and claim.rule.form in ("above", "below")
    if claim.margin and not (claim.margin > 0 and claim.because and is_one_sided):
        condition = "be positive and stand beside `because` and a rule above or below"
        raise ArgumentError("margin", condition, repr(claim.margin))


def _claim(entry: Mapping[str, Any], sources: Mapping[str, str]) -> Claim:
    stage, asked = entry.get("stage", ()), entry.get("statistic", "")
    named = dict(asked) if isinstance(asked, Mapping) else {"name": asked}
    given = dict(entry) | {
        "source": sources[entry["source"]],
        "stage": (stage,) if isinstance(stage, str) else tuple(stage),
        "statistic": named.pop("name", ""),
        "options": named,
        "rule": read_rule(str(entry["rule"])) if "rule" in entry else None,
        "predicted": str(entry.get("predicted", "")),
    }
    claim = Claim(**given)
    _check_margin(claim)
    if not claim.untested:
        statistic_named(claim.statistic).check(claim.options)
    columns = {name for name in claim.where if not name.startswith("config.")} | ({claim.by} - {""})
    columns = columns.union(*map(columns_of, filter(None, (claim.value, claim.predicted))))
    if unknown := sorted(name for name in columns if not is_listed(name)):
        raise ArgumentError("a column", "be listed in diffstab.results.schema", unknown[0])
    return claim
