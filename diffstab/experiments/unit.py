"""What an experiment is: settings, axes, what the cells of a place share, the numbers of a cell, columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from diffstab.errors import ArgumentError
from diffstab.results import canonical_json, flatten, record_key
from diffstab.results.schema import Column


class Axis(NamedTuple):
    """A setting that lists the values along one side of the grid.

    Attributes:
        option: The setting: a list of numbers or words, a mapping by label, or a number of values counted from 0.
        name: Column of a record, and coordinate of a cell, that holds one of its values.
        symbol: Put before the value in a label, as in n=64; "" for the value alone.
        least: Least value of an axis of whole numbers; None for other axes.
        is_place: Whether cells of different values see different data; methods, say, share theirs.
        is_rising: Whether the least value is run first.
    """

    option: str
    name: str
    symbol: str = ""
    least: int | None = None
    is_place: bool = True
    is_rising: bool = False

    def check(self, values: Any) -> None:
        """Refuse an axis without values, with a value twice or, of numbers, too small.

        Raises:
            ArgumentError: In the name of the setting.
        """
        if isinstance(values, int):
            if values < 1:
                raise ArgumentError(self.option, "be at least 1", values)
        elif not values:
            raise ArgumentError(self.option, "not be empty", values)
        elif self.least is not None and (min(values) < self.least or len(set(values)) < len(values)):
            raise ArgumentError(self.option, f"hold different numbers of at least {self.least}", values)
        elif any(list(values).count(value) > 1 for value in values):
            raise ArgumentError(self.option, "hold each value once", values)

    def label(self, value: object) -> str:
        """Return a value as it stands in a label."""
        return f"{self.symbol}={value}" if self.symbol else str(value)


class Cell(Mapping[str, Any]):
    """One run of a grid: its value on each axis, by the axis' name. It is hashable and does not change."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Cell({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class ClassOption(NamedTuple):
    """A setting that names a class by class_path and init_args; it stays a description, made cell by cell.

    Attributes:
        option: The setting: one description, or a list of them.
        base: Dotted path of the class that it must inherit from.
        given: Arguments of the class that the axes give.
    """

    option: str
    base: str
    given: frozenset[str] = frozenset()


DATA_MODULE = ClassOption("data", "pytorch_lightning.LightningDataModule", frozenset({"n_train", "seed"}))


class Workplace(NamedTuple):
    """Where cells are run.

    Attributes:
        folder: Results folder, for files beside the records; a file is written before its record.
        keys: Name of the record of each cell.
        tell: Takes named numbers now and then during a training.
    """

    folder: Path
    keys: Mapping[Cell, str]
    tell: Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Experiment:
    """A kind of experiment; an instance is one configuration of it, whose fields are its options.

    A subclass is a frozen dataclass whose fields hold plain values and have defaults. It names its axes and says what
    the cells of a place share (`prepare`) and what is measured in a cell (`run`). All else follows from that: options
    of its command, checks of the axes, names of the records, missing cells, processes, sweeps, curves and a page. A
    field `threads`, if there is one, bounds the threads of linear algebra.

    Attributes:
        name: Command that runs it.
        kind: Word in the column `kind` of its records, which its page is found by.
        axes: Sides of the grid, the slowest first.
        free: Further settings that change no number of a record; they may differ within a results folder.
        prepared_from: Settings that `prepare` reads; experiments that agree in them share what it makes. None is all.
        class_option: The setting that describes a class, if there is one.
        open_options: Settings objects that may name a class of the user's own, by their options' name.
        together: Whether the cells of a place are run at once.
        folder_prefix: Before the configuration's name in the name of the results folder.
        columns: What columns mean that `diffstab.results.schema` does not list.
        curve: Column that curves of records are drawn against.
        measures: Columns that are drawn, in the order of their importance.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    axes: ClassVar[tuple[Axis, ...]] = ()
    free: ClassVar[tuple[str, ...]] = ()
    prepared_from: ClassVar[tuple[str, ...] | None] = None
    class_option: ClassVar[ClassOption | None] = None
    open_options: ClassVar[Mapping[str, type]] = {}
    together: ClassVar[bool] = False
    folder_prefix: ClassVar[str] = ""
    columns: ClassVar[Mapping[str, Column]] = {}
    curve: ClassVar[str] = ""
    measures: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for axis in self.axes:
            axis.check(getattr(self, axis.option))

    def prepare(self, place: Cell) -> Any:
        """Return what the cells of a place share: data, probes, points; None by default."""

    def run(self, cell: Cell, shared: Any, workplace: Workplace) -> dict[str, Any]:
        """Return the measured columns of a cell's record.

        Args:
            cell: Place in the grid.
            shared: From `prepare` for its place.
            workplace: For files and progress.
        """
        raise NotImplementedError

    def run_together(
        self, cells: Sequence[Cell], shared: Any, workplace: Workplace
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Yield the measured columns of each cell of a batch, all of one place; by default one after another."""
        for cell in cells:
            yield cell, self.run(cell, shared, workplace)

    def check_data(self) -> None:
        """Ask for the largest data, so that bad options are refused before anything is made; nothing by default."""

    def begin(self, folder: Path) -> None:
        """Write the files of a results folder that belong to all runs; none by default."""

    def values(self, axis: Axis, cell: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values on an axis.

        Args:
            axis: The axis.
            cell: Values on the axes before it, for grids that are no product.
        """
        listed = getattr(self, axis.option)
        values = list(range(listed) if isinstance(listed, int) else listed)
        return sorted(values) if axis.is_rising else values

    def cells(self) -> Iterator[Cell]:
        """Yield the runs in their order."""
        for values in self._along(self.axes, {}):
            yield Cell(**values)

    def _along(self, axes: Sequence[Axis], before: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if not axes:
            yield before
            return
        for value in self.values(axes[0], before):
            yield from self._along(axes[1:], {**before, axes[0].name: value})

    def place(self, cell: Cell) -> Cell:
        """Return what of a cell decides which data it sees."""
        shared = {axis.name for axis in self.axes if not axis.is_place}
        return Cell(**{name: value for name, value in cell.items() if name not in shared})

    def batches(self) -> Iterator[tuple[Cell, ...]]:
        """Yield the cells that are run at once, whatever is recorded, so that no result hangs on that."""
        if not self.together:
            yield from ((cell,) for cell in self.cells())
            return
        for _, group in groupby(self.cells(), key=self.place):
            yield tuple(group)

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Return what tells a run apart within the experiment: its place in the grid, with what labels stand for."""
        return dict(cell)

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""
        return dataclasses.asdict(self)

    @classmethod
    def grid_keys(cls) -> tuple[str, ...]:
        """Return the settings that may differ within a results folder."""
        return (*(axis.option for axis in cls.axes), *cls.free)

    def key(self, cell: Cell) -> str:
        """Return the name of a cell's record, the same in every results folder."""
        return record_key(self.resolved(), self.settings(cell), grid_keys=self.grid_keys())

    def label(self, batch: Sequence[Cell]) -> str:
        """Return a line that names a batch."""
        first, count = batch[0], len(batch)
        shared = self.place(first) if self.together else first
        symbols = {axis.name: axis for axis in self.axes}
        parts = [
            symbols[name].label(value) if name in symbols else f"{name}={value}"
            for name, value in shared.items()
        ]
        return " ".join(parts) + (f", {count} runs" if self.together else "")

    def cell_columns(self, cell: Cell) -> dict[str, Any]:
        """Return the columns of a record that say what was run."""
        config = canonical_json({**self.resolved(), "cell": self.settings(cell)})
        return {"kind": self.kind, **cell, "config": config}

    def coordinates(self, cell: Cell) -> dict[str, Any]:
        """Return what tells a run apart within the experiment, flat under dotted names."""
        return flatten(self.settings(cell))

    def check_least(self, **least: float) -> None:
        """Refuse settings below their least values; None is none of them.

        Raises:
            ArgumentError: In the name of the setting.
        """
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                raise ArgumentError(name, f"be at least {bound}", value)


_prepared: list[tuple[tuple[Any, ...], Any]] = []


def prepared(experiment: Experiment, place: Cell) -> Any:
    """Return what the cells of a place share; the last one made is kept for the cells and experiments to come."""
    names = experiment.prepared_from
    read = experiment if names is None else [getattr(experiment, name) for name in names]
    key = (type(experiment), place, read)
    if not (_prepared and _prepared[0][0] == key):
        _prepared[:] = [(key, experiment.prepare(place))]
    return _prepared[0][1]
