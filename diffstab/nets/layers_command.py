"""`diffstab layers MODEL`: the modules of a model, their output shapes, and which are measured by default."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets.layers import CannotRunError, LayerInfo, layer_table
from diffstab.nets.loading import LoadedModel
from diffstab.nets.model_options import add_model_options, model_choice
from diffstab.nets.outputs import OutputPart
from diffstab.streams import stream

_SIDES = (32, 28, 224, 64, 96, 299)
"""Sizes that are tried for a model that says none."""

_IMAGES = 3
"""Images that it runs on; few nets have an axis of that length for another reason."""

_WIDTH_OF_A_FILE = 200


def main(args: Sequence[str]) -> None:
    """Run the command.

    Raises:
        ArgumentError: If the model cannot be loaded or run, or has no layers.
    """
    options = _parser().parse_args(args)
    choice = model_choice(options)
    loaded = choice.load()
    module = loaded.module
    if not loaded.has_layers or not isinstance(module, nn.Module):
        what = loaded.notes[0] if loaded.notes else "a function"
        raise ArgumentError("model", "have layers", f"{loaded.source} ({what.rstrip('.')})")
    example, infos = _run(loaded, module, options.input_size, choice.part)
    if options.json:
        print(json.dumps(_content(loaded, example, infos), indent=2))
        return
    console = Console(highlight=False, width=None if Console().is_terminal else _WIDTH_OF_A_FILE)
    for note in loaded.notes:
        console.print(note, style="dim")
    shape = " x ".join(map(str, example.shape[1:]))
    console.print(f"{loaded.source} on images of {shape}; * is measured by default.", soft_wrap=True)
    console.print(_table(infos))
    defaults = [info.name or "output" for info in infos if info.is_default]
    console.print(f"Measured by default ({len(defaults)}): {', '.join(defaults)}", soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffstab layers", description=__doc__)
    add_model_options(parser)
    parser.add_argument(
        *("--input_size", "--input-size"),
        type=int,
        nargs="+",
        metavar="N",
        help="of its images: side; height and width; or channels, height and width",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    return parser


def _run(
    loaded: LoadedModel, module: nn.Module, size: list[int] | None, part: OutputPart
) -> tuple[Tensor, list[LayerInfo]]:
    """Run the model on images of the size that is given or known, or else on the first size that it takes."""
    failure: CannotRunError | None = None
    for shape in _shapes(loaded, module, size):
        example = torch.rand(_IMAGES, *shape, generator=stream(0, "images of a table of layers"))
        try:
            return example, layer_table(module, example, output=part if part.path else None)
        except CannotRunError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _shapes(loaded: LoadedModel, module: nn.Module, size: list[int] | None) -> Iterator[tuple[int, int, int]]:
    if size is None or len(size) <= 2:
        sides = [(size[0], size[-1])] if size else _likely_sizes(loaded)
        yield from ((channels, *pair) for pair in sides for channels in _channels(loaded, module))
    elif len(size) == 3:
        yield (size[0], size[1], size[2])
    else:
        raise ArgumentError("input_size", "be one to three numbers", size)


def _likely_sizes(loaded: LoadedModel) -> list[tuple[int, int]]:
    if loaded.input_size is not None:
        return [loaded.input_size]
    from_library = loaded.source.startswith(("torchvision:", "timm:"))
    return [(side, side) for side in ((224, 299, *_SIDES) if from_library else _SIDES)]


def _channels(loaded: LoadedModel, module: nn.Module) -> tuple[int, ...]:
    """Return the channels that the first convolution takes, or else what is likely."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return (part.in_channels,)
    mean = loaded.preprocessing.mean
    return (3, 1) if mean is None else (len(mean), 3, 1)


def _table(infos: list[LayerInfo]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "layer", "class", "output of an image", "runs", ""):
        table.add_column(heading, justify="right" if heading == "runs" else "left", overflow="fold")
    for info in infos:
        size = "" if info.output_shape is None else _per_image(info.output_shape)
        marks = ("*" if info.is_default else "", info.name or "output", info.type, size)
        table.add_row(*marks, str(info.runs), _remark(info))
    return table


def _per_image(shape: tuple[int, ...]) -> str:
    sides = list(shape)
    if sides and sides[0] == _IMAGES:
        return " x ".join(map(str, sides[1:])) or "1"
    return f"{' x '.join(map(str, sides))} for {_IMAGES} images"


def _remark(info: LayerInfo) -> str:
    parts = []
    if info.why_not:
        parts.append(info.why_not)
    if info.shares_with:
        parts.append(f"the same module as {', '.join(info.shares_with)}")
    if info.runs > 1:
        parts.append(f"runs {info.runs} times")
    return "; ".join(parts)


def _content(loaded: LoadedModel, example: Tensor, infos: list[LayerInfo]) -> dict[str, object]:
    return {
        "model": loaded.source,
        "weights": loaded.weights,
        "weights_hash": loaded.weights_hash,
        "input_shape": list(example.shape[1:]),
        "images": len(example),
        "notes": list(loaded.notes),
        "layers": [asdict(info) for info in infos],
    }
