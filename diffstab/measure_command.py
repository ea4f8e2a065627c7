"""`diffstab measure`: any model on any images, from the command line to a table and a page."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from diffstab.errors import ArgumentError, RunError
from diffstab.results import config_hash, parse_yaml

if TYPE_CHECKING:
    from diffstab.experiments.measure import MeasureExperiment
    from diffstab.grid.batch import MakeObserver
    from diffstab.grid.options import Request

_OF_A_MODEL = ("weights", "init_args", "output", "mean", "std", "scale", "resize", "crop", "channels")
_LISTS = ("deltas", "cutoffs", "rotations", "translations", "scalings", "layers", "classes")
_PLAIN = (
    *("data", "size", "images", "noise", "fields_per_image", "seed", "until", "protocol", "confidence"),
    *("accelerator", "devices", "strategy", "precision", "batch_size", "readers"),
)
_CERTIFICATE = {"certify_images": "images", "certify_draws": "draws", "sigma": "sigma"}
_EPILOG = """
An option of a model that is given once counts for all models; else it is given for each, in their order (none for
one without it).
Whatever else an experiment can be told stands in --config FILE: the same names, and `models` by label.

examples:
  diffstab measure --model torchvision:resnet18 --weights DEFAULT --data photos --size 256
  diffstab measure --model my_nets:ResNet --init_args '{depth: 20}' --weights resnet20.pt \\
      --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --data images/test --images 500
  diffstab measure --model a=my_nets:A --weights a.pt --model b=my_nets:B --weights b.pt \\
      --data images/test --deltas 0.5px 1px 2px --cutoffs 3 5 --layers 'layer*' --until 5%
"""


def main(args: Sequence[str], track: Callable[[str], MakeObserver]) -> int:
    """Run the command.

    Args:
        args: Arguments after its name.
        track: Makes, for the name of a project, what tells a tracker of runs.

    Returns:
        The exit status.

    Raises:
        ArgumentError: An option, the model or the data do not fit.
        RunError: A model could not be measured; the others are recorded.
    """
    options = _parser().parse_args(args)
    from diffstab.experiments.measure import MeasureExperiment
    from diffstab.grid.options import parse
    from diffstab.measuring.ranks import say_next

    request = parse(MeasureExperiment, _flags(options))
    experiment = request.experiment
    assert isinstance(experiment, MeasureExperiment)
    experiment = experiment.settled()
    folder = Path(options.results) if options.results else default_folder(experiment)
    request = request._replace(experiment=experiment, folder=folder)
    if options.dry_run:
        _tell_forecast(experiment)
        return 0
    if not _leads(experiment):
        return 0
    _run(request, track)
    say_next(None)
    return _tell(experiment, folder, as_json=options.json)


def _leads(experiment: MeasureExperiment) -> bool:
    """Whether this process is alone or the first of torchrun's; another one does its share here, until all is done."""
    from diffstab.experiments.measure import follow
    from diffstab.measuring.ranks import started_together
    from diffstab.measuring.running import trainer_of

    ranks = started_together()
    if not ranks:
        return True
    trainer_of(experiment.device_settings, is_shown=False)  # the processes meet
    if ranks.own:
        follow(experiment)
    return ranks.own == 0


def _run(request: Request, track: Callable[[str], MakeObserver]) -> None:
    from diffstab.experiments.measure import own_bar
    from diffstab.grid.running import run_grid
    from diffstab.results import Records

    make_observer = track(request.wandb) if request.wandb else None
    observer = make_observer() if make_observer else None
    try:
        with own_bar() as console:
            run_grid(request.experiment, request.folder, console=console, observer=observer)
    except RunError:
        failures = Records(request.folder).failures().values()
        for line in dict.fromkeys(f"failed: {one.label}: {one.reason}" for one in failures):
            print(line, file=sys.stderr)
        raise


def _tell_forecast(experiment: MeasureExperiment) -> None:
    from diffstab.measuring.one_call import forecast

    for label in experiment.choices:
        ready = experiment.ready(label)
        layers = ", ".join(experiment.facts_of(label).layers)
        print(f"{label}: {forecast(ready, experiment.device_settings)}")
        print(f"{label}: layers {layers}")


def _tell(experiment: MeasureExperiment, folder: Path, *, as_json: bool) -> int:
    """Certify if that is asked for; print the numbers of this command, then where its page is."""
    from diffstab.measuring.measurement import cautions, table_lines
    from diffstab.report.page import write_report
    from diffstab.report.pages.measure import comparison_of, own_records

    experiment.certify(folder)
    frame = own_records(folder, [experiment.key(cell) for cell in experiment.cells()])
    page = write_report(folder)
    found = comparison_of(folder, frame)
    if as_json:
        content = {"page": str(page), "folder": str(folder), "rows": _rows(frame)}
        if found is not None:
            content |= {"pairs": _rows(found.pairs), "ranking": _rows(found.ranking)}
        print(json.dumps(content, indent=2))
        return 0
    print("\n".join(table_lines(frame)))
    notes = frame[["model", "notes"]].dropna().drop_duplicates().itertuples(index=False)
    for note in [*(f"{label}: {text}" for label, text in notes if text), *cautions(frame)]:
        print(note)
    if found is not None:
        print(found)
    print(f"Page: {page}")
    return 0


def _rows(frame: Any) -> Any:
    left_out = ("config", "versions", "hardware", "notes")
    return json.loads(
        frame.drop(columns=[name for name in left_out if name in frame]).to_json(orient="records")
    )


def default_folder(experiment: MeasureExperiment) -> Path:
    """Return the results folder of an experiment that names none: the same for the same command."""
    from diffstab.experiments.measure import safe_name
    from diffstab.results.store import LATER

    config = experiment.resolved()
    told = {
        name: value
        for name, value in config.items()
        if name not in experiment.free and (name not in LATER or value != LATER[name])
    }
    labels = safe_name("_".join(experiment.models))[:40]
    return Path("results") / f"measure_{labels}_{config_hash(told)[:6]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diffstab measure",
        description="Measure D, G and R of models' outputs and layers on images; recorded models are skipped.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_model_options(parser)
    _add_measuring_options(parser)
    _add_certificate_options(parser)
    _add_running_options(parser)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models")
    own: dict[str, Any] = {"action": "append"}
    what = (
        "package.module:Class or factory, torchvision:NAME, timm:NAME, a file, or a folder of `diffstab fit`"
    )
    what += "; LABEL=... names it"
    group.add_argument("--model", help=f"{what}. May be repeated: all see the same images", **own)
    group.add_argument("--weights", help="file of weights, or a name of torchvision's (DEFAULT)", **own)
    group.add_argument(*_spelled("init_args"), help="arguments of the class, as '{depth: 20}'", **own)
    group.add_argument("--output", help="part of what it returns: index, key or attribute", **own)
    group.add_argument("--mean", nargs="+", help="of each channel, taken off after deformation", **own)
    group.add_argument("--std", nargs="+", help="of each channel, divided by after that", **own)
    group.add_argument("--scale", help="255 for a model of pixels from 0 to 255", **own)
    group.add_argument("--resize", nargs="+", help="shorter side after deformation, pixels", **own)
    group.add_argument("--crop", nargs="+", help="central part that is kept after that, pixels", **own)
    group.add_argument("--channels", help="rgb or bgr", **own)
    group.add_argument("--init", action="store_true", help="measure them with initial weights too")


def _add_measuring_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images and deformations")
    group.add_argument(
        "--data", help="folder of images, datamodules.NAME, or package.module:function of a loader"
    )
    group.add_argument("--size", help="side that images are resized and cut to before deformation, pixels")
    group.add_argument("--grey", action="store_true", help="turn colours into grey levels, one channel")
    group.add_argument(
        "--images", help="number of images, drawn evenly over the classes; all of them if left out"
    )
    group.add_argument("--deltas", **_many("displacements, 1px or 0.5%% of the side (1px)"))
    group.add_argument("--cutoffs", **_many("high-frequency cut-offs (3)"))
    group.add_argument("--rotations", **_many("angles, degrees"))
    group.add_argument("--translations", **_many("shifts, 1px or 0.5%%"))
    group.add_argument("--scalings", **_many("per cent"))
    group.add_argument("--layers", **_many("patterns of names, default, or output"))
    group.add_argument("--classes", **_many("names of the classes in the order of the model's outputs"))
    group.add_argument("--noise", help="matched, batch, or a norm (matched)")
    group.add_argument(*_spelled("fields_per_image"), help="deformations and noise draws of each image (1)")
    group.add_argument("--seed", help="of images, deformations and noise (0)")
    group.add_argument("--until", help="stop when the interval of R is that narrow: 5%%")
    group.add_argument("--equivariant", action="store_true", help="E of maps, too: D without mere moving")
    group.add_argument(
        "--protocol", help="1 or 2021: fixes deformation, noise, statistic, number of images, seed"
    )
    group.add_argument("--confidence", help="of the intervals (0.95)")


def _add_certificate_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("certificates")
    group.add_argument("--certify", action="store_true", help="certify the smoothed classifier")
    group.add_argument("--attack", action="store_true", help="attack it, and the model itself, too")
    group.add_argument(*_spelled("certify_images"), help="images that are certified (100)")
    group.add_argument(*_spelled("certify_draws"), help="draws for each image and each tried field (1000)")
    group.add_argument("--sigma", help="smoothing noise, in units of the first displacement (1)")


def _add_running_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument("--accelerator", help="cpu, gpu, auto, ... as of Lightning's Trainer (auto)")
    group.add_argument("--devices", help="how many, or which: 2, [0, 3] (1)")
    group.add_argument("--strategy", help="auto or ddp: a process per device (auto)")
    group.add_argument("--precision", help="32-true, bf16-mixed, 64-true, ... (32-true)")
    group.add_argument(*_spelled("batch_size"), help="images in a batch; by itself from the free memory")
    group.add_argument("--readers", help="processes that read images, per device (0)")
    group.add_argument("--results", help="results folder; the same command goes on in its own")
    group.add_argument("--dry-run", action="store_true", help="tell time and memory, and measure nothing")
    group.add_argument("--json", action="store_true", help="print JSON in place of a table")
    group.add_argument("--config", help="YAML file of an experiment")
    group.add_argument("--wandb", metavar="PROJECT", help="log the models to W&B")


def _spelled(name: str) -> tuple[str, str]:
    return f"--{name.replace('_', '-')}", f"--{name}"


def _many(text: str) -> dict[str, Any]:
    return {"nargs": "+", "action": "extend", "help": text, "metavar": "X"}


def _flags(options: argparse.Namespace) -> list[str]:
    """Return the options as flags of the experiment."""
    flags = [f"--config={options.config}"] if options.config else []
    models = _models(options)
    flags += [f"--models={json.dumps(models)}"] if models else []
    flags += [f"--wandb={options.wandb}"] if options.wandb else []
    flags += [f"--{name}=true" for name in ("init", "grey", "equivariant") if getattr(options, name)]
    for name in _LISTS:
        if (given := getattr(options, name)) is not None:
            values = [value for text in given for value in re.split(r"[,\s]+", text.strip("[] ")) if value]
            flags.append(f"--{name}={json.dumps([_number(value) for value in values])}")
    flags += _certificate_flags(options)
    flags += [f"--{name}={value}" for name in _PLAIN if (value := getattr(options, name)) is not None]
    return flags


def _certificate_flags(options: argparse.Namespace) -> list[str]:
    values = {name: getattr(options, option) for option, name in _CERTIFICATE.items()}
    values |= {name: "true" if getattr(options, name) else None for name in ("certify", "attack")}
    return [f"--certificate.{name}={value}" for name, value in values.items() if value is not None]


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _models(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the models by label: their own, or the name of their class, or of their weights where that is not one."""
    specs = [_split_label(text) for text in options.model or []]
    chosen: list[dict[str, Any]] = [{"model": spec} for _, spec in specs]
    for name in _OF_A_MODEL:
        for one, value in zip(
            chosen, _for_each(name, getattr(options, name) or [], len(specs)), strict=False
        ):
            if value is not None:
                one[name] = value
    found: dict[str, dict[str, Any]] = {}
    for one, (label, spec) in zip(chosen, specs, strict=True):
        plain = label or re.split(r"[:/]", spec.removesuffix(".pt2").removesuffix(".onnx"))[-1]
        if not label and [other for _, other in specs].count(spec) > 1 and one.get("weights"):
            plain = Path(str(one["weights"])).stem
        while plain in found:
            plain += "'"
        found[plain] = one
    return found


def _for_each(name: str, given: list[Any], models: int) -> list[Any]:
    """Return the value of an option for each model."""
    if len(given) not in (0, 1, models) or (given and not models):
        raise ArgumentError(
            f"--{name}", f"be given once, or for each of {models} models", f"{len(given)} times"
        )
    values = [_read(name, one) for one in given]
    return values * models if len(values) == 1 else values


def _read(name: str, given: str | list[str]) -> Any:
    """Read a value: numbers and mappings in YAML, texts as they are."""
    if given == "none" or given == ["none"]:
        return None
    if name not in ("init_args", "mean", "std", "scale", "resize", "crop"):
        return given
    values = [_yaml(name, text) for text in ([given] if isinstance(given, str) else given)]
    return values if name in ("mean", "std") or len(values) > 1 else values[0]


def _yaml(name: str, text: str) -> Any:
    try:
        return parse_yaml(text.encode())
    except YAMLError as error:
        raise ArgumentError(f"--{name}", "be YAML, as '{depth: 20}' or 0.5", repr(text)) from error


def _split_label(text: str) -> tuple[str, str]:
    label, sign, spec = text.partition("=")
    return (label, spec) if sign and re.fullmatch(r"[\w .()-]+", label) else ("", text)
