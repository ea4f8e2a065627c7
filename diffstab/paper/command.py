"""`diffstab paper`: run what the figures and claims of the sources need, and write the page of verdicts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffstab.paper.planning import plan_lines
from diffstab.paper.running import Planned, plan_stages, run_planned, with_data
from diffstab.paper.stages import STAGES
from diffstab.report.claims.listing import NAME as VERDICTS
from diffstab.report.claims.listing import read_verdicts, write_marked
from diffstab.report.paper.page import StageRun, write_paper
from diffstab.results import Records

_SIZES = {
    "dimensions": "d",
    "n_train": "n",
    "widths": "widths",
    "hidden": "hidden widths",
    "restarts": "restarts",
    "seeds": "seeds",
}
"""Keys of a configuration that make its size, and how they are called."""


def main(args: Sequence[str]) -> int:
    """Run what the arguments of `diffstab paper` ask for, and print the path of the page.

    Returns:
        The exit status: 1 if runs failed, the page says which.
    """
    options = _parser().parse_args(args)
    planned = plan_stages(options.stages, options.results, full=options.full)
    if options.dry_run:
        print("\n".join(dry_run(planned, full=options.full)))
        return 0
    if options.plan:
        minutes = sum(one.stage.minutes for one in planned)
        print("\n".join(plan_lines({one.stage.name: one.folder for one in planned}, minutes)))
        return 0
    planned = with_data(planned, without_images=options.without_images)
    run_planned(planned, workers=options.workers)
    # The page shows every stage that has been run, also by an earlier command with other stages.
    now = {one.stage.name: one for one in planned}
    listed = plan_stages((), options.results, full=options.full)
    stages = [state(now.get(one.stage.name, one)) for one in listed]
    page = write_paper(options.results, stages)
    print(f"Report: {page.resolve()}")
    for document in options.write:
        write_marked(document, read_verdicts(page.parent / VERDICTS))
    return int(any(stage.failures for stage in stages))


def state(planned: Planned) -> StageRun:
    """Return what became of a stage."""
    stage, records, keys = planned.stage, Records(planned.folder), planned.keys
    failures = records.failures() if planned.folder.is_dir() else {}
    return StageRun(
        stage.name,
        stage.command,
        planned.folder,
        len(keys),
        len(keys) - len(records.missing(keys)),
        [failures[key].reason for key in keys if key in failures],
        sizes_text(planned.experiment.resolved()),
        stage.published,
        planned.absent,
        len(records.keys() - set(keys)),
    )


def sizes_text(config: Mapping[str, Any]) -> str:
    """Return the sizes that a configuration asks for: "n = 64, 256; 5 seeds"."""
    found = []
    for key, name in _SIZES.items():
        value = config.get(key, (config.get("net") or {}).get(key))
        if key == "seeds" and value:
            found.append(f"{len(value)} {'seed' if len(value) == 1 else 'seeds'}")
            more = config.get("more_seeds") or {}
            found += [f"{len(value) + len(seeds)} at n = {size}" for size, seeds in more.items()]
        elif value:
            listed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found.append(f"{name} = {listed}")
    return "; ".join(found)


def dry_run(planned: Sequence[Planned], *, full: bool) -> Iterator[str]:
    """Yield a line per stage: what is left to run, and how long it takes at the small sizes on two cores."""
    total = 0.0
    for one in planned:
        keys, left = one.keys, len(one.missing)
        minutes = one.stage.minutes * left / len(keys)
        total += minutes
        time = "time unknown" if full else f"about {minutes:.1f} min"
        yield f"{one.stage.name:<22} {one.stage.command:<13} {left:>4} of {len(keys):>4} runs, {time}"
    yield "In all: made for a cluster." if full else f"In all: about {total:.0f} min on two cores."


def _parser() -> argparse.ArgumentParser:
    about = (
        "Run what the figures and claims of the sources need, and write one page with every verdict. What is "
    )
    about += "recorded is not run again: started after an interruption, it goes on."
    parser = argparse.ArgumentParser(prog="diffstab paper", description=about)
    add, stages = parser.add_argument, f"only these of {', '.join(STAGES)}"
    add("--stages", nargs="+", default=(), metavar="STAGE", help=stages)
    add("--results", type=Path, default=Path("results/paper"), help="folder of all results")
    add("--workers", type=int, help="processes; by default one per core")
    add("--full", action="store_true", help="the papers' own sizes, for a cluster")
    add("--without-images", action="store_true", help="leave out stages whose data are missing")
    add("--dry-run", action="store_true", help="tell the stages and their time; make nothing")
    add(
        "--plan", action="store_true", help="tell the draws that undecided claims need, from what is recorded"
    )
    texts = "texts whose marked numbers of verdicts are written anew"
    add("--write", nargs="+", type=Path, default=(), metavar="FILE", help=texts)
    return parser
