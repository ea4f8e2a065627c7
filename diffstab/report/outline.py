"""A page as data: its YAML file says what it shows, the module beside it how that is worked out from the runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from diffstab.errors import ArgumentError
from diffstab.report.catalogue import NamedFigure
from diffstab.report.document import Table
from diffstab.report.glossary import WORDS
from diffstab.report.listings import Entry, Listing, counts, draws, signs
from diffstab.report.marks import MARKS
from diffstab.report.names import ordered, value_text
from diffstab.report.plots import Layer, Plot, Reference
from diffstab.report.runs import Runs
from diffstab.report.summaries import MEAN, STATISTICS
from diffstab.report.tables import is_recorded
from diffstab.report.varied import varied
from diffstab.results import parse_yaml

_CELLS = {"signs": signs, "counts": counts}
"""Columns of a table that count: "signs NAME" and "counts NAME"."""


@dataclass(frozen=True)
class Chapter:
    """A part of a page; it is left out where the runs have nothing to show in it.

    Attributes:
        title: Heading.
        figures: Names of figures of the page.
        tables: Names of tables of the page, or of functions of its module that make some of runs.
        says: Function of the module that makes paragraphs of runs; "" for none.
        words: Words that are defined before they are used.
        is_folded: Whether it is shown at a click only.
    """

    title: str
    figures: Sequence[str] = ()
    tables: Sequence[str] = ()
    says: str = ""
    words: Sequence[str] = ()
    is_folded: bool = False


@dataclass(frozen=True)
class Page:
    """The page of one kind of experiment.

    Attributes:
        kind: Of the records.
        topic: Beside the project's name, what all pages of the kind are about.
        question: What the experiment asks, in words that need no definition.
        words: Words that are defined before they are used, by the column that must be recorded.
        lead: Name of the figure beside the answer.
        figures: All figures, by name.
        tables: All tables that are data, by name.
        chapters: The rest of the page, in order.
        code: Module with `prepare`, `title` and `answer`, and where needed `question`, `varied`, `cautions`.
    """

    kind: str
    topic: str
    question: str
    words: Mapping[str, str]
    lead: str
    figures: Mapping[str, NamedFigure]
    tables: Mapping[str, Listing]
    chapters: Sequence[Chapter]
    code: ModuleType

    def call(self, name: str, runs: Runs, default: Any) -> Any:
        """What a function of the module makes of runs; the default where there is no such function."""
        function = getattr(self.code, name, None)
        return function(runs) if function else default

    def paragraphs(self, chapter: Chapter, runs: Runs) -> Sequence[str]:
        """What a chapter says."""
        return _function(self.code, chapter.says)(runs) if chapter.says else ()

    def shown_question(self, runs: Runs) -> str:
        """The question, in the words of the module where it has some."""
        return str(self.call("question", runs, "") or self.question)

    def shown_words(self, runs: Runs) -> list[str]:
        """The methods and optimisers that have a definition, then the words whose column is recorded."""
        names = [
            value_text(name, value)
            for name in ("method", "optimiser")
            if name in runs.frame
            for value in ordered(name, runs.frame[name])
        ]
        words = [word for word, column in self.words.items() if is_recorded(runs.frame, column)]
        return [word for word in dict.fromkeys([*names, *words]) if word in WORDS]

    def shown_variation(self, runs: Runs) -> str:
        """What was varied."""
        return str(self.call("varied", runs, "") or varied(runs))

    def made_tables(self, name: str, runs: Runs) -> list[Table]:
        """The tables of a name; none where the runs have nothing to list."""
        if name not in self.tables:
            return list(_function(self.code, name)(runs))
        table = self.tables[name].table(runs.frame)
        return [table] if table else []


def read_page(path: Path, code: ModuleType) -> Page:
    """Read the page that a YAML file describes.

    Args:
        path: The file.
        code: Module with the functions that it names.

    Raises:
        ArgumentError: The file names a statistic, mark, setting or function that there is not.
    """
    data = parse_yaml(path.read_bytes())
    figures = {name: _figure(name, one, code) for name, one in data.get("figures", {}).items()}
    tables = {name: _listing(name, one, code) for name, one in data.get("tables", {}).items()}
    chapters = [_made(Chapter, one) for one in data.get("chapters", ())]
    texts = {name: data.get(name, "") for name in ("kind", "topic", "question", "lead")}
    return Page(
        **texts, words=data.get("words", {}), figures=figures, tables=tables, chapters=chapters, code=code
    )


def _figure(name: str, data: Mapping[str, Any], code: ModuleType) -> NamedFigure:
    told = {key: data[key] for key in ("title", "says", "of_a_run") if key in data}
    if "draw" in data:
        return NamedFigure(name, content=_function(code, data["draw"]), **told)
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data["plot"].items()
    }
    if "prepare" in options:
        options["prepare"] = _function(code, options["prepare"])
    options["layers"] = tuple(_layer(*one) for one in data["layers"])
    options["references"] = tuple(_made(Reference, one) for one in data.get("references", ()))
    return NamedFigure(name, content=_made(Plot, options), **told)


def _layer(statistic: str, mark: str, options: Mapping[str, Any] | None = None) -> Layer:
    return Layer(_named(STATISTICS, statistic), _named(MARKS, mark), **_known(Layer, options or {}))


def _listing(name: str, data: Mapping[str, Any], code: ModuleType) -> Listing:
    prepare = _function(code, data["prepare"]) if "prepare" in data else None
    entries = tuple(_entry(one, data.get("before", ""), code) for one in data["entries"])
    return Listing(name, data["caption"], tuple(data["rows"]), entries, prepare)


def _entry(data: Any, before: str, code: ModuleType) -> Entry:
    """An entry: a column, a column with its statistic and heading, a count, or a function of the module."""
    if isinstance(data, Mapping):
        return Entry(data["name"], heading=data.get("heading", ""), text=_function(code, data["cell"]))
    name, statistic, heading = [*data, "", ""][:3] if isinstance(data, list) else (data, "", "")
    kind, _, column = name.partition(" ")
    if kind in _CELLS and column:
        return _CELLS[kind](column)
    if name == "draws":
        return draws()
    chosen = _named(STATISTICS, statistic) if statistic else MEAN
    return Entry(name, chosen, heading, before + name if before else "")


def _function(code: ModuleType, name: str) -> Callable[..., Any]:
    """A function of the module, or one below `diffstab.report` by its dotted name."""
    module, _, last = name.rpartition(".")
    place = importlib.import_module(f"diffstab.report.{module}") if module else code
    if not hasattr(place, last):
        raise ArgumentError("function", f"be one of {place.__name__}", repr(last))
    return getattr(place, last)  # type: ignore[no-any-return]


def _named(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise ArgumentError("name", f"be one of {', '.join(known)}", repr(name))
    return known[name]


def _made(kind: type[Any], options: Mapping[str, Any]) -> Any:
    return kind(**_known(kind, options))


def _known(kind: type[Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    known = [one.name for one in fields(kind)]
    if unknown := set(options) - set(known):
        raise ArgumentError("setting", f"be one of {', '.join(known)}", ", ".join(sorted(unknown)))
    return options
