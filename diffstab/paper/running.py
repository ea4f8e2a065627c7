"""Run the stages of the paper, one after another, on the processes of one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from diffstab.errors import DataError
from diffstab.experiments.unit import Experiment
from diffstab.grid.cluster import Engine, connected
from diffstab.grid.plan import Plan, check_place, experiment_plan
from diffstab.grid.running import run_plan
from diffstab.paper.stages import Stage, chosen
from diffstab.results import Records


class Planned(NamedTuple):
    """A stage that may run.

    Attributes:
        stage: The stage.
        experiment: Configuration of the chosen size.
        folder: Results folder.
        absent: Why data that its missing runs need are not there; "" where they are, or have not been looked for.
    """

    stage: Stage
    experiment: Experiment
    folder: Path
    absent: str = ""

    @property
    def keys(self) -> list[str]:
        """Names of the records of all of its cells."""
        return [self.experiment.key(cell) for cell in self.experiment.cells()]

    @property
    def missing(self) -> list[str]:
        """Names of the records that are not there yet."""
        return Records(self.folder).missing(self.keys)


def plan_stages(names: Sequence[str], root: str | Path, *, full: bool = False) -> list[Planned]:
    """Read the configurations of stages; nothing is made.

    Args:
        names: Names of stages; all of them for none.
        root: Folder of the results folders.
        full: The papers' own sizes rather than those of an hour.

    Raises:
        ArgumentError: If a name is no stage or a configuration is wrong.
    """
    requests = {stage: stage.request(Path(root), full=full) for stage in chosen(names)}
    return [Planned(stage, request.experiment, request.folder) for stage, request in requests.items()]


def with_data(planned: Sequence[Planned], *, without_images: bool = False) -> list[Planned]:
    """Look for the data of the runs that are missing, which downloads them where that can be done.

    Args:
        planned: Stages.
        without_images: Mark those whose data are absent rather than refuse them.

    Returns:
        The stages, with what their data lack.

    Raises:
        DataError: If data are absent and are not to be done without.
    """
    looked = [one._replace(absent=_absent(one)) if one.missing else one for one in planned]
    lacking = [one for one in looked if one.absent]
    if lacking and not without_images:
        names = ", ".join(one.stage.name for one in lacking)
        way_out = f"{lacking[0].absent} Or leave these stages out with --without-images."
        raise DataError("The data of stages are missing", names, way_out)
    return looked


def _absent(planned: Planned) -> str:
    try:
        planned.experiment.check_data()
    except DataError as error:
        return str(error)
    return ""


def run_planned(
    planned: Sequence[Planned], *, workers: int | None = None, console: Console | None = None
) -> dict[str, Path]:
    """Run the cells of stages that have no record yet; those that fail are remembered and the rest goes on.

    Args:
        planned: Stages; those whose data are absent are left out.
        workers: Processes that run at once; one per core for None.
        console: Where progress is shown; None is standard error.

    Returns:
        The results folder of each stage that ran, by name.

    Raises:
        ResultsError: If a folder holds results of another configuration (nothing is run then) or cannot be written.
    """
    console, ready = console or Console(stderr=True), [one for one in planned if not one.absent]
    for one in ready:
        # Refused now rather than when its turn comes.
        check_place(Plan(one.stage.name, one.experiment, []), one.folder)
    to_do = [one for one in ready if one.missing]
    if to_do:
        with connected(Engine(workers=workers)) as client:
            for number, one in enumerate(to_do, start=1):
                name = f"[{number}/{len(to_do)}] {one.stage.name}: {len(one.missing)} runs"
                console.print(name, markup=False, highlight=False)
                plan = experiment_plan(one.experiment)
                run_plan(plan, one.folder, where=client, console=console, retry_failed=True)
    return {one.stage.name: one.folder for one in ready}


def run_stages(names: Sequence[str], root: str | Path, *, full: bool = False) -> dict[str, Path]:
    """Run what is missing of stages, by their names; see `plan_stages`, `with_data` and `run_planned`."""
    return run_planned(with_data(plan_stages(names, root, full=full)))
