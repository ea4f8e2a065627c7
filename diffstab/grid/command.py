"""The command of an experiment, and `diffstab sweep FILE`, `diffstab sweep status` and `diffstab sweep rm`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from diffstab.experiments.unit import Experiment
from diffstab.grid.cluster import Engine
from diffstab.grid.dask_loop import run_on_dask, run_sweep
from diffstab.grid.folder import estimate, remove, status
from diffstab.grid.observers import MakeObserver
from diffstab.grid.options import parse
from diffstab.grid.plan import check_data, check_place, make_plan
from diffstab.grid.running import run_grid, runs_failed
from diffstab.grid.sweep_file import read_sweep

Track = Callable[[str], MakeObserver]
"""Makes, for the name of a project, what makes observers."""


def run(experiment: type[Experiment], args: Sequence[str], track: Track) -> int:
    """Run what the arguments of an experiment's command ask for.

    Args:
        experiment: Kind of experiment.
        args: Arguments after the command's name.
        track: What tells trackers of runs.

    Returns:
        The exit status.

    Raises:
        RunError: In the end, if runs failed.
    """
    request = parse(experiment, args)
    make_observer = track(request.wandb) if request.wandb else None
    if request.workers > 1:
        workers = request.workers
        tally = run_on_dask(request.experiment, request.folder, workers=workers, make_observer=make_observer)
        if tally.failed:
            raise runs_failed(tally.failed, tally.total, request.folder)
    else:
        run_grid(request.experiment, request.folder, observer=make_observer() if make_observer else None)
    print(f"Results in {request.folder}. Next: diffstab report {request.folder}")
    return 0


def sweep(args: Sequence[str], track: Track) -> int:
    """Run what the arguments of `diffstab sweep` ask for.

    Args:
        args: Arguments after the command's name.
        track: What tells trackers of runs.

    Returns:
        The exit status: 1 if runs failed.
    """
    if args[:1] == ["status"]:
        return _status(args[1:])
    if args[:1] == ["rm"]:
        return _remove(args[1:])
    return _run_sweep(args, track)


def _run_sweep(args: Sequence[str], track: Track) -> int:
    options = _parser().parse_args(args)
    engine = Engine(options.workers, options.threads, options.scheduler, options.slurm)
    plan = make_plan(read_sweep(options.file))
    folder = Path(options.results or f"results/sweep_{plan.name}")
    if options.dry_run:
        check_place(plan, folder)
        check_data(batch.experiment for batch in plan.batches)
        print(estimate(plan, folder, workers=engine.processes, retry_failed=options.retry_failed))
        return 0
    project = options.wandb or plan.wandb
    tally = run_sweep(
        plan,
        folder,
        engine=engine,
        make_observer=track(project) if project else None,
        retry_failed=options.retry_failed,
    )
    if tally.failed:
        print(f"{tally.failed} batches failed: `diffstab sweep status {folder}` says why.")
    print(f"Results in {folder}. Next: diffstab report {folder}")
    return int(tally.failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diffstab sweep",
        description="Run every combination of a sweep's file that has no record yet.",
        epilog="`diffstab sweep status FOLDER` tells how far a sweep is, `diffstab sweep rm FOLDER` removes runs.",
    )
    parser.add_argument(
        "file", help="YAML file: command, method: grid, parameters; `wandb sweep` reads it too"
    )
    parser.add_argument(
        "--results", default=None, help="results folder; by default results/sweep_<name of the file>"
    )
    parser.add_argument(
        "--workers", type=int, default=None, help="processes on this machine; by default one per core"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of linear algebra in each process")
    parser.add_argument("--scheduler", default=None, help="join the Dask cluster at tcp://host:port")
    parser.add_argument(
        "--slurm", type=Path, default=None, metavar="PROFILE", help="YAML file of Slurm jobs to start"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try runs again that failed before")
    parser.add_argument(
        "--dry-run", action="store_true", help="tell the runs and their time, and make nothing"
    )
    parser.add_argument("--wandb", default=None, metavar="PROJECT", help="log the runs to W&B")
    return parser


def _status(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="diffstab sweep status", description="How far a sweep is.")
    parser.add_argument("folder", help="results folder of a sweep")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args(args)
    found = status(options.folder)
    print(json.dumps(found.as_data(), indent=1) if options.json else found)
    return 0


def _remove(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="diffstab sweep rm",
        description="Remove runs of a sweep: records, failures, and files beside them.",
    )
    parser.add_argument("folder", help="results folder of a sweep")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="runs of these coordinates; may be repeated",
    )
    parser.add_argument("--failed", action="store_true", help="runs that failed")
    parser.add_argument("--all", action="store_true", help="all runs; the plan stays")
    options = parser.parse_args(args)
    count = remove(options.folder, where=options.where, failed=options.failed, everything=options.all)
    print(f"{count} runs removed from {options.folder}.")
    return 0
