"""Run the stages of the paper, one after another, on the processes of one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from diffstab.errors import DataError
from diffstab.paper.stages import Stage, chosen
from diffstab.results import Records
from diffstab.training.grid import GridCommand, run_grid


class Planned(NamedTuple):
    """A stage that is about to run.

    Attributes:
        stage: The stage.
        command: Its command.
        experiment: Configuration of the chosen size.
        folder: Results folder.
        absent: Why its data are not there; "" where they are.
    """

    stage: Stage
    command: GridCommand[Any, Any]
    experiment: Any
    folder: Path
    absent: str = ""

    @property
    def keys(self) -> list[str]:
        """Names of the records of all of its cells."""
        batches = self.command.batches(self.experiment)
        return [self.command.key(self.experiment, cell) for batch in batches for cell in batch]

    @property
    def missing(self) -> int:
        """Cells that have no record yet."""
        return len(Records(self.folder).missing(self.keys)) if self.folder.is_dir() else len(self.keys)


def plan_stages(names: Sequence[str], root: str | Path, *, full: bool = False) -> list[Planned]:
    """Read the configurations of the stages and look for their data; nothing is made.

    Args:
        names: Names of stages; all of them for none.
        root: Folder of the results folders.
        full: The papers' own sizes rather than those of an hour.

    Raises:
        ArgumentError: If a name is no stage or a configuration is wrong.
    """
    planned = []
    for stage in chosen(names):
        command, asked = stage.asked(Path(root), full=full)
        absent = ""
        try:
            command.check(asked.experiment)
        except DataError as error:
            absent = str(error)
        planned.append(Planned(stage, command, asked.experiment, asked.folder, absent))
    return planned


def with_data(planned: Sequence[Planned], *, without_images: bool) -> list[Planned]:
    """Return the stages whose data are there.

    Args:
        planned: Stages.
        without_images: Leave out those whose data are absent rather than refuse them.

    Raises:
        DataError: If data are absent and are not to be done without.
    """
    lacking = [one for one in planned if one.absent]
    if lacking and not without_images:
        names = ", ".join(one.stage.name for one in lacking)
        message = f"The data of {names} are missing. {lacking[0].absent}"
        raise DataError(f"{message} Or leave these stages out with --without-images.")
    return [one for one in planned if not one.absent]


def run_stages(
    names: Sequence[str],
    root: str | Path,
    *,
    full: bool = False,
    workers: int | None = None,
    without_images: bool = False,
    console: Console | None = None,
) -> dict[str, Path]:
    """Run the cells of stages that have no record yet.

    Args:
        names: Names of stages; all of them for none.
        root: Folder of the results folders.
        full: The papers' own sizes rather than those of an hour.
        workers: Processes that run at once; one per core for None.
        without_images: Leave out stages whose data are absent rather than refuse to start.
        console: Where progress is shown; None is standard error.

    Returns:
        The results folder of each stage that ran, by name.

    Raises:
        ArgumentError: If a name is no stage or a configuration is wrong.
        DataError: If data are missing; nothing is made then.
        ResultsError: If a folder holds results of another configuration or cannot be written.
    """
    console = console or Console(stderr=True)
    ready = with_data(plan_stages(names, root, full=full), without_images=without_images)
    for number, one in enumerate(ready, start=1):
        if one.missing:
            console.print(f"[{number}/{len(ready)}] {one.stage.name}", markup=False, highlight=False)
            run_grid(one.command, one.experiment, one.folder, console=console)
    return {one.stage.name: one.folder for one in ready}
