"""The command line: `diffstab <command> ...`. Nothing heavy is imported before a command is known."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from diffstab import __version__
from diffstab.errors import DiffstabError, RunError
from diffstab.helptext import stored_help
from diffstab.shipped import check_data_modules


class Command(NamedTuple):
    """A command: what it does, in a line, and what runs it with the arguments after its name."""

    summary: str
    run: Callable[[str, list[str]], int | None]


def main(args: list[str]) -> int:
    """Run the command line.

    A refused argument or a damaged file is told in one line on standard error; with DIFFSTAB_DEBUG=1 in the
    environment the traceback is shown instead.

    Args:
        args: Arguments without the program's name.

    Returns:
        The exit status: 0 when all went well, 1 when runs of a grid failed, 2 when the command or an argument was
        refused, 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        with _terminated_as_interrupted():
            return _run(args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except _TerminatedError:
        print(f"diffstab: terminated; {_GOES_ON}", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"diffstab: interrupted; {_GOES_ON}", file=sys.stderr)
        return 130
    except (DiffstabError, OSError) as error:
        if os.environ.get("DIFFSTAB_DEBUG"):
            raise
        print(f"diffstab: {_one_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, RunError) else 2


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM has come: everything ends as after Ctrl-C."""


_GOES_ON = "finished runs are recorded, the same command goes on."
_LONGEST = 200
"""Letters of a word from which on its middle is left out of a message."""


def _run(args: list[str]) -> int:
    name, rest = _split(args)
    if args[-1] in ("--help", "-h") and (text := stored_help(" ".join(args[:-1]))):
        print(text, end="")
        return 0
    with _log_shown():
        return commands()[name].run(name, rest) or 0


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError):
        text = f"Cannot use {error.filename or 'a file'}: {error.strerror or error}. DIFFSTAB_DEBUG=1 shows where."
    words = [f"{word[:60]}...{word[-20:]}" if len(word) > _LONGEST else word for word in text.split()]
    return " ".join(words)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """End as after Ctrl-C when the process is told to end; whoever asked for another handling keeps it."""
    told = False

    def stop(number: int, frame: object) -> None:
        nonlocal told
        told = True
        raise _TerminatedError

    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit:  # Lightning makes one of an interruption
        if told:
            raise _TerminatedError from None
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _log_shown() -> Iterator[None]:
    """Show what the library logs on standard error, as plain lines."""
    logger, handler = logging.getLogger("diffstab"), logging.StreamHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _split(args: list[str]) -> tuple[str, list[str]]:
    """Return the command and what follows it; exits after --help, --version or an unknown command."""
    about = "How stable is a predictor of images to small deformations relative to noise, and why."
    # Only the first argument is the front's; a command's own --help must reach the command.
    return _chosen(args, commands(), prog="diffstab", about=about), args[1:]


def _chosen(args: list[str], commands: Mapping[str, Command], *, prog: str, about: str) -> str:
    """Return the command that the first argument names; exits after --help, --version or an unknown one."""
    width = max(map(len, commands))
    listing = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in commands.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        description=about,
        epilog=f"commands:\n{listing}\n\n`{prog} <command> --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"diffstab {__version__}")
    parser.add_argument("command", choices=commands, metavar="command", help="one of those below")
    return str(parser.parse_args(args[:1]).command)


def _lightning(command: str, args: list[str]) -> None:
    check_data_modules()
    from diffstab.experiments.fit import FitExperiment, SphereFitExperiment
    from diffstab.tracking.fit import TrackedCLI
    from diffstab.training.lightning import run_lightning

    *group, name = command.split()
    options = (SphereFitExperiment if group else FitExperiment).lightning()
    run_lightning([name, *args], command_line=TrackedCLI, **options)


def _grid(command: str, args: list[str]) -> int:
    check_data_modules()
    from diffstab.experiments import experiment_class
    from diffstab.grid.command import run
    from diffstab.tracking import wandb_observers

    return run(experiment_class(command), args, wandb_observers)


def _any_experiment(command: str, args: list[str]) -> int:
    if not args or args[0].startswith("-"):
        parser = argparse.ArgumentParser(prog=f"diffstab {command}", description=COMMANDS[command].summary)
        parser.add_argument(
            "experiment", metavar="package.module:Class", help="its options follow; see its --help"
        )
        parser.parse_args(args[:1])
    return _grid(args[0], args[1:])


def _sweep(command: str, args: list[str]) -> int:
    check_data_modules()
    from diffstab.grid.command import sweep
    from diffstab.tracking import wandb_observers

    return sweep(args, wandb_observers)


def _report(command: str, args: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=f"diffstab {command}", description=COMMANDS[command].summary)
    parser.add_argument("results", help="results folder, as written by a command that runs a grid")
    parser.add_argument("--json", action="store_true", help="print what the page says as JSON, not its path")
    options = parser.parse_args(args)

    from diffstab.experiments import import_others
    from diffstab.report.page import write_report

    import_others()
    page = write_report(options.results)
    print(page.with_name("page.json").read_text(encoding="utf-8") if options.json else page)


def _sphere(command: str, args: list[str]) -> int | None:
    prog = f"diffstab {command}"
    known = commands("sphere")
    name = _chosen(args, known, prog=prog, about=COMMANDS[command].summary)
    return known[name].run(f"{command} {name}", args[1:])


def _sphere_field(command: str, args: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=f"diffstab {command}", description=SPHERE["field"].summary)
    parser.add_argument("--dimension", type=int, default=3, help="2 for the circle, 3 for the 2-sphere")
    parser.add_argument(
        "--smoothness", type=float, nargs="+", default=[0.5, 4.0], help="nu_t, one panel each"
    )
    parser.add_argument("--parity", default="even", help="even (what ReLU neurons without bias learn) or all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the realisations")
    parser.add_argument("--output", default="results/field.png", help="file to write: png, pdf or svg")
    options = parser.parse_args(args)

    from diffstab.sphere import write_field_picture

    picture = write_field_picture(
        options.output, options.dimension, options.smoothness, parity=options.parity, seed=options.seed
    )
    print(picture)


def _dashboard(command: str, args: list[str]) -> None:
    from diffstab.tracking import dashboard

    dashboard.main(args)


def _import_wandb(command: str, args: list[str]) -> None:
    from diffstab.tracking import importing

    importing.main(args)


def _paper(command: str, args: list[str]) -> int:
    check_data_modules()
    from diffstab.paper.command import main

    return main(args)


def _figure(command: str, args: list[str]) -> int:
    check_data_modules()
    from diffstab.paper.figures import main

    return main(args)


def _scatter(command: str, args: list[str]) -> int:
    from diffstab.report.scatter.command import main

    return main(args)


def _completion(command: str, args: list[str]) -> None:
    from diffstab import completion

    parser = argparse.ArgumentParser(prog=f"diffstab {command}", description=COMMANDS[command].summary)
    parser.add_argument("shell", choices=completion.SHELLS)
    shell = parser.parse_args(args).shell
    print(completion.script(shell, _starts()))


def _starts() -> dict[str, Callable[[], object]]:
    """What starts each command without arguments, by its words."""
    found = {name: partial(command.run, name, []) for name, command in commands().items() if name != "sphere"}
    inner = commands("sphere").items()
    return {**found, **{f"sphere {name}": partial(one.run, f"sphere {name}", []) for name, one in inner}}


def _layers(command: str, args: list[str]) -> None:
    from diffstab.nets import layers_command

    layers_command.main(args)


def _audit(command: str, args: list[str]) -> int:
    from diffstab.measuring import audit_command

    return audit_command.main(args)


def _measure(command: str, args: list[str]) -> int:
    from diffstab import measure_command
    from diffstab.tracking import wandb_observers

    return measure_command.main(args, wandb_observers)


def _zoo(command: str, args: list[str]) -> int:
    from diffstab import zoo_command

    return zoo_command.main(args) if command == "zoo" else zoo_command.replay(args)


def _demo(command: str, args: list[str]) -> int | None:
    check_data_modules()
    from diffstab import demo

    return demo.main(args)


COMMANDS = {
    "fit": Command("train one net on one data set", _lightning),
    "validate": Command("measure a checkpoint on the validation images", _lightning),
    "test": Command("measure a checkpoint on the test images", _lightning),
    "predict": Command("compute the outputs of a checkpoint on the test images", _lightning),
    "sphere": Command("regression on the sphere: learning curves, their page, and training", _sphere),
    "run": Command("run an experiment of your own, a class package.module:Class", _any_experiment),
    "measure": Command("measure any model on any images: D, G and R of its output and layers", _measure),
    "layers": Command("list the layers of a model, and which are measured by default", _layers),
    "audit": Command("look whether a model and images fit each other, before measuring", _audit),
    "sweep": Command("run a grid of any of these on all cores, a Dask cluster or Slurm", _sweep),
    "report": Command("turn a results folder into a page with tables and figures", _report),
    "figure": Command("draw one figure or table by its name, from results folders", _figure),
    "scatter": Command("draw test error against R over models, and fit the power law between them", _scatter),
    "zoo": Command("put measured models into a table, a row each", _zoo),
    "replay": Command("measure the models of such a table again, and compare", _zoo),
    "dashboard": Command("make a W&B workspace and report of the project's runs", _dashboard),
    "import-wandb": Command("turn W&B runs back into the records of a results folder", _import_wandb),
    "paper": Command("run what the sources' figures and claims need, and write one page of verdicts", _paper),
    "demo": Command("a small comparison with its report, on embedded data", _demo),
    "completion": Command("print the script that completes these commands in bash, zsh or tcsh", _completion),
}

SPHERE = {
    "fit": Command("train the feature predictor by descent", _lightning),
    "validate": Command("measure a checkpoint on the test points", _lightning),
    "test": Command("measure a checkpoint on the test points", _lightning),
    "predict": Command("compute the outputs of a checkpoint on the test points", _lightning),
    "field": Command("draw Gaussian random fields on the circle or the 2-sphere", _sphere_field),
}


def commands(group: str = "") -> dict[str, Command]:
    """Return the commands, or those of a group, by name: every listed experiment is one.

    Args:
        group: First word of a command of two words, as "sphere"; "" for the commands of one.
    """
    from diffstab.experiments import listed

    found = {}
    for name, experiment in listed().items():
        *before, last = name.split(maxsplit=1)
        if " ".join(before) == group:
            found[last] = Command(f"{experiment.summary[:1].lower()}{experiment.summary[1:]}", _grid)
    return {**found, **(SPHERE if group == "sphere" else COMMANDS)}
