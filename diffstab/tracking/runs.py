"""Runs of W&B as they are found again: in a folder by W&B's own command, or on the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from diffstab.errors import ResultsError
from diffstab.tracking.observer import KEPT

_SECONDS = 600
_DEPTH = 5
"""Levels of folders that are looked through for logs of runs."""


class FoundRun(NamedTuple):
    """A run of W&B.

    Attributes:
        id: Its id.
        name: Shown for it.
        group: Name of the results folder that it belongs to; "" for none.
        started: Text that sorts runs by when they started.
        is_finished: Whether it came to its end without an error.
        config: Nested configuration.
        summary: Last values.
        kept: Folder of the results in its files; it may not exist.
    """

    id: str
    name: str
    group: str
    started: str
    is_finished: bool
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    kept: Path


class Reading(NamedTuple):
    """What became of reading many runs.

    Attributes:
        runs: Those that could be read, oldest first.
        damaged: What is wrong with the others, by their names.
    """

    runs: list[FoundRun]
    damaged: dict[str, str]


def offline_runs(folder: Path) -> Reading:
    """Read the runs that W&B wrote below a folder.

    Args:
        folder: A folder of results folders, one of these, its `wandb` folder or that of a run.

    Raises:
        ResultsError: If there is none.
    """
    # RESULTS/NAME/wandb/offline-run-*/run-*.wandb: no more is looked through, whatever folder is given.
    logs = sorted(
        log for depth in range(_DEPTH) for log in folder.glob("/".join(["*"] * depth + ["*.wandb"]))
    )
    if not logs:
        message = f"{folder} holds no run of W&B (no file *.wandb in it or {_DEPTH - 1} folders deep)."
        raise ResultsError(f"{message} Give a results folder that was made with --wandb, or ENTITY/PROJECT.")
    return _reading(_offline_run, {str(log): log for log in logs})


def _offline_run(log: Path) -> FoundRun:
    """Read the transaction log of a run by `wandb leet inspect`."""
    # -P: nothing in the current folder stands in for the package, which is named as W&B's folders are.
    command = [sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--json", str(log)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ResultsError(f"W&B did not read its log within {_SECONDS} seconds") from None
    if answer.returncode or "corrupt" in answer.stderr:
        raise ResultsError((answer.stderr.strip() or "unreadable").splitlines()[-1])
    records: dict[str, list[dict[str, Any]]] = {}
    try:
        for line in answer.stdout.splitlines():
            record = json.loads(line)
            records.setdefault(record["type"], []).append(record[record["type"]])
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"W&B tells its log in another form ({type(error).__name__}: {error})") from error
    if "run" not in records:
        raise ResultsError("its log ends before the run begins")
    run, exits = records["run"][0], records.get("exit", [])
    return FoundRun(
        id=run["run_id"],
        name=run.get("display_name", ""),
        group=run.get("run_group", ""),
        started=run.get("start_time", ""),
        is_finished=bool(exits) and exits[-1].get("exit_code", 0) == 0,
        config=_public(_merged([run.get("config", {}), *records.get("config", [])])),
        summary=_merged(records.get("summary", [])),
        kept=log.parent / "files" / KEPT,
    )


def online_runs(path: str, folder: Path, *, api: Any = None) -> Reading:
    """Read the runs of a project on the server, and download the results in their files.

    Args:
        path: ENTITY/PROJECT.
        folder: Where the files go, a folder for each run.
        api: What answers for the server; None is `wandb.Api()`.

    Raises:
        ResultsError: If the project cannot be read.
    """
    try:
        if api is None:
            import wandb

            api = wandb.Api()
        found = list(api.runs(path))
    # Whatever W&B and the libraries below it raise without a key, a network or such a project.
    except Exception as error:
        message = f"W&B did not answer for {path} ({type(error).__name__}: {error})."
        way_out = "Look at key, network and name, or import an offline folder."
        raise ResultsError(f"{message} {way_out}") from error
    return _reading(partial(_online_run, folder=folder), {str(run.id): run for run in found})


def _online_run(run: Any, folder: Path) -> FoundRun:
    place = folder / str(run.id)
    try:
        for file in run.files():
            name = Path(str(file.name))
            if name.parts[:1] == (KEPT,):
                # Anybody may have put it on the server.
                if ".." in name.parts:
                    raise ResultsError(f"its file {file.name!r} would be written outside of its folder")
                file.download(root=str(place), replace=True)
        summary = dict(run.summary)
    except ResultsError:
        raise
    except Exception as error:
        raise ResultsError(f"{type(error).__name__}: {error}") from error
    return FoundRun(
        id=str(run.id),
        name=str(run.name),
        group=str(run.group or ""),
        started=str(run.created_at),
        is_finished=run.state == "finished",
        config=_public(run.config),
        summary=summary,
        kept=place / KEPT,
    )


def _reading(read: Callable[[Any], FoundRun], sources: Mapping[str, Any]) -> Reading:
    """Read all runs, a few at a time."""

    def tried(source: Any) -> FoundRun | str:
        try:
            return read(source)
        except ResultsError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(sources, pool.map(tried, sources.values()), strict=True))
    runs: Sequence[FoundRun] = [run for run in found.values() if isinstance(run, FoundRun)]
    damaged = {name: text for name, text in found.items() if isinstance(text, str)}
    return Reading(sorted(runs, key=lambda run: run.started), damaged)


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _merged(updates: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for update in updates for name, value in update.get("update", {}).items()}
