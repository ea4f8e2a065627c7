"""`diffstab dashboard`: the workspace and the report of the project's runs on W&B, as a file or on the server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffstab.errors import ArgumentError, ResultsError
from diffstab.extras import require
from diffstab.results import write_atomically
from diffstab.tracking.panels import laid_out, parts
from diffstab.tracking.session import check_project, has_key

TITLE = "Stability of predictors: diffstab"
_ABOUT = (
    "How stable predictors of images are to deformations relative to noise, learning curves on the sphere, and "
    "plateaus and forces of L2-regularised nets. Runs are grouped by results folder."
)


class Dashboard(NamedTuple):
    """A Workspace and a Report of wandb_workspaces."""

    workspace: Any
    report: Any


def make_dashboard(project: str = "", *, entity: str = "") -> Dashboard:
    """Return the specifications of the project's workspace and report; nothing is asked of a server.

    Args:
        project: W&B project; may stay empty in a specification that is only written to a file.
        entity: W&B user or team; likewise.

    Raises:
        ArgumentError: If wandb-workspaces is not installed.
    """
    require("wandb_workspaces", "for dashboards")
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    sections = [ws.Section(name=part.name, panels=list(part.panels), is_open=True) for part in parts()]
    workspace = ws.Workspace(entity=entity, project=project, name=TITLE, sections=sections)
    blocks: list[Any] = [wr.P(_ABOUT), wr.TableOfContents()]
    for part in parts():
        # Blank offline: a runset that names its project asks the server for it.
        runset = wr.Runset(entity=entity, project=project) if entity else wr.Runset()
        grid = wr.PanelGrid(runsets=[runset], panels=laid_out(part.panels))
        blocks += [wr.H1(part.name), wr.P(part.text), grid]
    report = wr.Report(project=project, entity=entity, title=TITLE, description=_ABOUT, blocks=blocks)
    return Dashboard(workspace, report)


def as_json(dashboard: Dashboard) -> str:
    """Return both specifications as one JSON text, as the server would get them."""
    models = {name: getattr(dashboard, name)._to_model() for name in Dashboard._fields}
    texts = {name: model.model_dump_json(by_alias=True, exclude_none=True) for name, model in models.items()}
    return json.dumps({name: json.loads(text) for name, text in texts.items()}, indent=2)


def push(project: str, *, entity: str) -> list[str]:
    """Make workspace and report on the server, and return their addresses.

    Args:
        project: W&B project.
        entity: W&B user or team.

    Raises:
        ArgumentError: If there is no key.
        ResultsError: If the server refuses, or cannot be reached.
    """
    if not has_key():
        way_out = "Run `wandb login`, or look at the specification with --dry-run."
        raise ArgumentError("WANDB_API_KEY", "be set to push a dashboard", "no key", way_out)
    made = make_dashboard(project, entity=entity)
    try:
        return [str(getattr(part.save(), "url", "")) for part in made]
    # Whatever the two libraries below raise on a refusal or without a network.
    except Exception as error:
        message = f"W&B did not take the dashboard of {entity}/{project} ({type(error).__name__}: {error})."
        way_out = "Look at key, entity and network, or write it with --dry-run."
        raise ResultsError(f"{message} {way_out}") from error


def main(args: Sequence[str]) -> None:
    """Write the dashboard as JSON, or make it on the server, and print where it is.

    Raises:
        ArgumentError: If an option is wrong, wandb-workspaces is not installed, or there is no key to push with.
        ResultsError: If the file cannot be written, or the server refuses.
    """
    about = "Make a W&B workspace and report of the project's runs."
    parser = argparse.ArgumentParser(prog="diffstab dashboard", description=about)
    action = parser.add_mutually_exclusive_group(required=True)
    written = "write both as JSON; needs no key and no network"
    action.add_argument("--dry-run", action="store_true", help=written)
    action.add_argument("--push", action="store_true", help="make both on the server; needs a key")
    parser.add_argument("--entity", default="", help="W&B user or team; --push needs it")
    parser.add_argument("--project", default="diffstab", help="W&B project")
    parser.add_argument("--output", default="results/dashboard.json", help="file that --dry-run writes")
    options = parser.parse_args(list(args))
    check_project(options.project)
    if options.push:
        if not options.entity:
            raise ArgumentError("entity", "be given to push", "none", "It is your W&B user or team.")
        print("\n".join(push(options.project, entity=options.entity)))
        return
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    print(write_atomically(path, as_json(make_dashboard(options.project)).encode()))
