"""The command of an experiment, and `diffstab sweep FILE`, `diffstab sweep status` and `diffstab sweep rm`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from diffstab.experiments.unit import Experiment
from diffstab.grid.batch import MakeObserver
from diffstab.grid.cluster import Engine
from diffstab.grid.folder import estimate, remove, status
from diffstab.grid.options import parse
from diffstab.grid.plan import check_data, check_place, experiment_plan, make_plan
from diffstab.grid.running import check_all_ran, run_plan
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
    threads = getattr(request.experiment, "threads", None) or 1
    tally = run_plan(
        experiment_plan(request.experiment),
        request.folder,
        where=Engine(request.workers, threads) if request.workers > 1 else None,
        make_observer=track(request.wandb) if request.wandb else None,
        # A command without a way to ask for failed runs again tries them whenever it is started.
        retry_failed=True,
    )
    check_all_ran(tally, request.folder)
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
    others = {"status": _status, "rm": _remove}
    if args and args[0] in others:
        return others[args[0]](args[1:])
    options = _parser().parse_args(args)
    engine = Engine(options.workers, options.threads, options.scheduler, options.slurm)
    plan = make_plan(read_sweep(options.file))
    folder, retry_failed = Path(options.results or f"results/sweep_{plan.name}"), options.retry_failed
    if options.dry_run:
        check_place(plan, folder)
        check_data(plan.batches)
        print(estimate(plan, folder, workers=engine.processes, retry_failed=retry_failed))
        return 0
    project = options.wandb or plan.wandb
    make_observer = track(project) if project else None
    tally = run_plan(plan, folder, where=engine, make_observer=make_observer, retry_failed=retry_failed)
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
    add = parser.add_argument
    add("file", help="YAML file: command, method: grid, parameters; `wandb sweep` reads it too")
    add("--results", help="results folder; by default results/sweep_<name of the file>")
    add("--workers", type=int, help="processes on this machine; by default one per core")
    add("--threads", type=int, default=1, help="threads of linear algebra in each process")
    add("--scheduler", help="join the Dask cluster at tcp://host:port")
    add("--slurm", type=Path, metavar="PROFILE", help="YAML file of Slurm jobs to start")
    add("--retry-failed", action="store_true", help="try runs again that failed before")
    add("--dry-run", action="store_true", help="tell the runs and their time, and make nothing")
    add("--wandb", metavar="PROJECT", help="log the runs to W&B")
    return parser


def _status(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="diffstab sweep status", description="How far a grid is.")
    parser.add_argument("folder", help="results folder of any command")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args(args)
    found = status(options.folder)
    print(json.dumps(found.as_data(), indent=1) if options.json else found)
    return 0


def _remove(args: Sequence[str]) -> int:
    about = "Remove runs: records, failures, and files beside them."
    parser = argparse.ArgumentParser(prog="diffstab sweep rm", description=about)
    parser.add_argument("folder", help="results folder of any command")
    where = "runs of these coordinates; may be repeated"
    parser.add_argument("--where", action="append", default=[], metavar="NAME=VALUE", help=where)
    parser.add_argument("--failed", action="store_true", help="runs that failed")
    parser.add_argument("--all", action="store_true", help="all runs; the plan stays")
    options = parser.parse_args(args)
    count = remove(options.folder, where=options.where, failed=options.failed, everything=options.all)
    print(f"{count} runs removed from {options.folder}.")
    return 0
