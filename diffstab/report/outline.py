"""A page as data: its YAML file says what it shows, the module beside it how that is worked out from the runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from diffstab.errors import ArgumentError
from diffstab.report.catalogue import NamedFigure
from diffstab.report.document import Table
from diffstab.report.listings import COUNTS, Entry, Listing
from diffstab.report.marks import MARKS
from diffstab.report.plots import Layer, Plot, Reference
from diffstab.report.runs import Runs
from diffstab.report.summaries import MEAN, STATISTICS
from diffstab.report.tables import is_recorded
from diffstab.report.words import WORDS, ordered, value_text
from diffstab.results import parse_yaml

_T = TypeVar("_T")


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
        lead: Name of the figure beside the answer.
        figures: All figures, by name.
        code: Module with `prepare` and `title`, and where needed `answer`, `question`, `varied`, `cautions`.
        words: Words that are defined before they are used, by the column that must be recorded.
        answers: Claims of the sources whose verdicts are the answer, each with the words where it `holds`
            and where it `fails`, and what its `number` is; none where the module has an `answer`.
        tables: All tables that are data, by name.
        chapters: The rest of the page, in order.
    """

    kind: str
    topic: str
    question: str
    lead: str
    figures: Mapping[str, NamedFigure]
    code: ModuleType
    words: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tables: Mapping[str, Listing] = field(default_factory=dict)
    chapters: Sequence[Chapter] = ()

    def call(self, name: str, runs: Runs, default: Any = "") -> Any:
        """What a function of the module makes of runs; the default where there is no such function."""
        function = getattr(self.code, name, None)
        return function(runs) if function else default

    def paragraphs(self, chapter: Chapter, runs: Runs) -> Sequence[str]:
        """What a chapter says."""
        found: Sequence[str] = function_of(self.code, chapter.says)(runs) if chapter.says else ()
        return found

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

    def made_tables(self, name: str, runs: Runs) -> list[Table]:
        """The tables of a name, or of a function of the module; none where the runs have nothing to list."""
        if name not in self.tables:
            return list(function_of(self.code, name)(runs))
        table = self.tables[name].table(runs.frame)
        return [table] if table else []


def read_page(path: Path, code: ModuleType) -> Page:
    """Read the page that a YAML file describes, with the functions of a module that it names.

    Raises:
        ArgumentError: The file names a statistic, mark, setting or function that there is not.
    """
    data = {"topic": "", "question": "", "lead": "", **parse_yaml(path.read_bytes())}
    data["figures"] = {name: _figure(name, one, code) for name, one in data.get("figures", {}).items()}
    data["tables"] = {name: _listing(name, one, code) for name, one in data.get("tables", {}).items()}
    data["chapters"] = [_made(Chapter, one) for one in data.get("chapters", ())]
    return _made(Page, data | {"code": code})


def _figure(name: str, data: Mapping[str, Any], code: ModuleType) -> NamedFigure:
    told = {key: data[key] for key in ("title", "says", "of_a_run") if key in data}
    if "draw" in data:
        return NamedFigure(name, content=function_of(code, data["draw"]), **told)
    options = {key: tuple(one) if isinstance(one, list) else one for key, one in data["plot"].items()}
    options["layers"] = tuple(_layer(*one) for one in data["layers"])
    options["references"] = tuple(_made(Reference, one) for one in data.get("references", ()))
    return NamedFigure(name, content=_made(Plot, _with_function(options, code)), **told)


def _layer(statistic: str, mark: str, options: Mapping[str, Any] | None = None) -> Layer:
    chosen = {"statistic": _named(STATISTICS, statistic), "mark": _named(MARKS, mark)}
    return _made(Layer, chosen | dict(options or {}))


def _listing(name: str, data: Mapping[str, Any], code: ModuleType) -> Listing:
    options = {key: one for key, one in data.items() if key != "before"}
    options["entries"] = tuple(_entry(one, data.get("before", "")) for one in data["entries"])
    return _made(Listing, _with_function(options, code) | {"name": name, "rows": tuple(data["rows"])})


def _entry(data: Any, before: str) -> Entry:
    """An entry of a table: a column, a column with its statistic and heading, or a mapping; "signs NAME" counts."""
    if not isinstance(data, Mapping):
        data = dict(zip(("name", "statistic", "heading"), data if isinstance(data, list) else [data]))
    count, _, name = data["name"].partition(" ")
    if count in COUNTS and (name or count == "draws"):
        found = COUNTS[count](name) if name else COUNTS[count]("seed")
        return _made(Entry, {**vars(found), **data, "name": found.name})
    chosen = {"statistic": _named(STATISTICS, data["statistic"]) if "statistic" in data else MEAN}
    earlier = {"before": before + data["name"] if before else ""}
    return _made(Entry, {**data, **chosen, **earlier})


def function_of(code: ModuleType, name: str) -> Callable[..., Any]:
    """A function of a module, or one below `diffstab.report` by its dotted name.

    Raises:
        ArgumentError: There is no such function.
    """
    module, _, last = name.rpartition(".")
    place = importlib.import_module(f"diffstab.report.{module}") if module else code
    if not hasattr(place, last):
        raise ArgumentError("function", f"be one of {place.__name__}", repr(last))
    return getattr(place, last)  # type: ignore[no-any-return]


def _with_function(options: dict[str, Any], code: ModuleType) -> dict[str, Any]:
    """Options with the function that `prepare` names."""
    return options | ({"prepare": function_of(code, options["prepare"])} if "prepare" in options else {})


def _named(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise ArgumentError("name", f"be one of {', '.join(known)}", repr(name))
    return known[name]


def _made(kind: type[_T], options: Mapping[str, Any]) -> _T:
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    if unknown := set(options) - set(known):
        raise ArgumentError("setting", f"be one of {', '.join(known)}", ", ".join(sorted(unknown)))
    return kind(**options)
