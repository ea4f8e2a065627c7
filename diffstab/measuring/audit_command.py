"""`diffstab audit MODEL DATA`: whether a model and images fit each other, before anything is measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.measuring.audit import audit
from diffstab.measuring.data import open_data
from diffstab.measuring.finding import AuditReport
from diffstab.measuring.images import UNKNOWN, ImageSet, check_count
from diffstab.nets.model_options import add_model_options, model_choice

_MOST_NUMBERS = 50_000_000
"""Numbers in all images together, 200 MB: they are held in memory."""

_IMAGES = 500


def main(args: Sequence[str]) -> int:
    """Run the command.

    Returns:
        The exit status: 1 if there is an alarm, else 0.

    Raises:
        ArgumentError: If the model or the data cannot be loaded, or do not fit at all.
    """
    options = _parser().parse_args(args)
    loaded = model_choice(options).load()
    data = open_data(options.data, size=options.size, images=options.images or _IMAGES, grey=options.grey)
    images, labels = _some(data, options.images)
    report = audit(
        loaded, images, labels, output=options.output, train_size=_size(options.train_size), batch_size=50
    )
    if options.json:
        print(json.dumps(_content(loaded.source, data.name, report), indent=2))
    else:
        _show(f"{loaded.source} on {report.images} images of {data.name}", list(loaded.notes), report)
    return int(bool(report.alarms))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffstab audit", description=__doc__)
    add_model_options(parser)
    parser.add_argument(
        "data", help="folder of images, data module (class path), or package.module:name of a loader"
    )
    parser.add_argument(
        "--images", type=int, help=f"number of images that are looked at (default: {_IMAGES})"
    )
    parser.add_argument(
        "--size", type=int, help="side in pixels of the square that images are cut to as they are read"
    )
    parser.add_argument("--grey", action="store_true", help="turn colours into grey levels, one channel")
    parser.add_argument(
        *("--train_size", "--train-size"),
        type=int,
        nargs="+",
        metavar="PX",
        help="of the images in the training of the model: side, or height and width",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _some(data: ImageSet, count: int | None) -> tuple[Tensor, Tensor | None]:
    """Return images, as even over the classes as can be, and their labels where all have one."""
    first = data.read(0)
    most = max(8, _MOST_NUMBERS // first.image.numel())
    available = check_count(count, len(data)) if count is not None else min(_IMAGES, most, len(data))
    if available > most:
        raise ArgumentError(
            "images", f"be at most {most} of this size", available, "They are held in memory."
        )
    batch = data.__getitems__(data.order(0)[:available].tolist())
    if isinstance(batch, str):
        raise ArgumentError("data", "be readable", batch)
    labels = batch.labels
    return batch.images, None if bool((labels == UNKNOWN).any()) else labels


def _size(size: list[int] | None) -> int | tuple[int, int] | None:
    if size is None:
        return None
    if len(size) > 2 or min(size) < 1:
        raise ArgumentError("train_size", "be a side, or height and width", size)
    return size[0] if len(size) == 1 else (size[0], size[1])


def _show(title: str, notes: list[str], report: AuditReport) -> None:
    console = Console(highlight=False)
    console.print(title, style="bold", soft_wrap=True, markup=False)
    for note in notes:
        console.print(note, style="dim", soft_wrap=True, markup=False)
    for line, finding in zip(str(report).splitlines(), report.findings):
        style = "red" if finding.level == "alarm" else None
        console.print(line, style=style, markup=False, soft_wrap=True)
    if report.alarms:
        console.print("Mend what is marked ALARM before you measure.")
    else:
        console.print("Nothing stands in the way of measuring.")


def _content(model: str, data: str, report: AuditReport) -> dict[str, object]:
    return {
        "model": model,
        "data": data,
        "images": report.images,
        "accuracy": report.accuracy,
        "findings": [asdict(finding) for finding in report.findings],
    }
