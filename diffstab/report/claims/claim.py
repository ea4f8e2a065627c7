"""What a claim of the sources is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffstab.report.claims.rules import Rule


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the sources that can be held against numbers.

    Attributes:
        id: Short name, unique.
        source: Which source.
        place: Where in it.
        statement: What it says.
        kind: What the records are of: images, sphere, plateau, forces, hierarchy, bottleneck, leaky; "" for what is
            computed on the spot.
        stage: Stages of the paper whose records are read; a claim of a kind without one is judged on the pages of
            results folders only.
        where: Columns and the values (one, or a list) that records must have; `config.NAME` is a setting of the run.
        method: Method whose numbers count; "" for all.
        against: Method that it is compared with on the same draw; "" for none.
        value: The number of a record, an expression over columns.
        by: Column whose values are pooled, each draw having all of them; "" for all records together.
        sizes: Sizes n that are judged: all, larger half or largest.
        statistic: Name of what makes numbers with intervals of the records.
        options: Further arguments of the statistic.
        rule: How such a number decides; None where the claim is not tested.
        margin: Largest effect that counts as none, around the bound of a rule "above" or "below": a distance in the
            unit of the value, a share of a ratio; 0 for a claim that is not held against it.
        because: Why that much counts as none; settled before the numbers were made.
        certain: Why the claim cannot fail here; "" where it can. Counted apart.
        predicted: What theory says the number is, an expression over columns; "" where the statistic knows.
        show: Which numbers stand in the table: last place, worst place, first of all places, mean of all.
        unit: Of the number: %, or what is written behind it; "" for that of the column.
        figure: Name of the figure that shows it; "" for none.
        note: What else a reader must know about the rule.
        folder: Whether the page of a results folder shows it.
        untested: Why nothing here can test it; "" where something can.
    """

    id: str
    source: str
    place: str
    statement: str
    kind: str = ""
    stage: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    against: str = ""
    value: str = ""
    by: str = ""
    sizes: str = "all"
    statistic: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    rule: Rule | None = None
    margin: float = 0.0
    because: str = ""
    certain: str = ""
    predicted: str = ""
    show: str = "worst"
    unit: str = ""
    figure: str = ""
    note: str = ""
    folder: bool = True
    untested: str = ""

    @property
    def reference(self) -> str:
        """Where it stands."""
        return f"{self.source}, {self.place}"
