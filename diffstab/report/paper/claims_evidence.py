"""What a claim of the sources is, what is found about it, and the records that it is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.tables import tidy_records
from diffstab.results import read_records

HOLDS, DOES_NOT, UNDECIDED, NOT_TESTED = "holds", "does not", "undecided", "not tested"

SLIDES = "Petrini et al. 2022, slides"
ABSTRACT = "Petrini et al. 2022, abstract"
JACOT = "Jacot et al. 2022"


class Finding(NamedTuple):
    """What the numbers say about a claim.

    Attributes:
        verdict: "holds", "does not", "undecided" or "not tested".
        measured: The number with its 95 % interval, as text; "" where there is none.
        value: The same number, to sort by.
        predicted: What the source says the number is, as text.
        draws: Draws, seeds or trials behind the number, as text.
        detail: The other numbers that the verdict rests on, or why there is none.
    """

    verdict: str
    measured: str = ""
    value: float = math.nan
    predicted: str = ""
    draws: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Evidence:
    """The results folders of the stages, read when first asked for.

    Args:
        folders: Results folder of each stage by name; one without records may be among them.
    """

    folders: Mapping[str, Path]
    _read: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def records(self, stage: str) -> pd.DataFrame:
        """Return the records of a stage.

        Raises:
            ResultsError: If there are none, or one is damaged.
        """
        if stage not in self.folders:
            raise ResultsError(f"The stage {stage} was not run.")
        if stage not in self._read:
            self._read[stage] = read_records(self.folders[stage])
        return self._read[stage]

    def runs(self, stage: str) -> pd.DataFrame:
        """Return the records of a stage, one row for each cell of data set, size, seed and method."""
        return tidy_records(self.records(stage))


Check = Callable[[Evidence], Finding]


@dataclass(frozen=True)
class Claim:
    """A statement of the sources that can be held against numbers.

    Args:
        identifier: Short name, unique.
        document: Which source.
        place: Where in it.
        statement: What it says.
        rule: How numbers decide about it, in words.
        check: Applies the rule; None where nothing here can test it.
        stages: Stages whose records are read.
        figure: Name of the figure that shows it; "" for none.
    """

    identifier: str
    document: str
    place: str
    statement: str
    rule: str
    check: Check | None = None
    stages: tuple[str, ...] = ()
    figure: str = ""
