"""The pictures of the report of a comparison: each figure drawn, named, captioned and put into words."""

import re
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.report import figures, tables, verdicts
from diffstab.report.document import Picture
from diffstab.report.numbers import number_text
from diffstab.report.rendering import render
from diffstab.report.style import looks
from diffstab.results.schema import describe, value_name

_NEURONS = ("neurons_x", "neurons_y", "neurons_mass")
_INITIAL_NEURONS = tuple(f"init_{name}" for name in _NEURONS)
_BANDS = {
    "seeds": "Band: 95 % Student interval of the mean over seeds; faint: single seeds.",
    "images": "One seed: 95 % bootstrap interval over test images.",
    "none": "One seed without a recorded interval: no band.",
}


def file_stem(text: str) -> str:
    """A file name for any text: the text where it is harmless, else what is left of it and a checksum."""
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:48]
    return kept if kept == text != "" else f"{kept}-{zlib.crc32(text.encode()):08x}"


def curve_picture(frame: pd.DataFrame, name: str, *, prefix: str) -> Picture:
    """A quantity against n_train for every method, from the records of one data set.

    Args:
        frame: Records as returned by `tidy_records`.
        name: Column that has values.
        prefix: First part of the file name.

    Returns:
        The picture.
    """
    stem = f"{prefix}-{file_stem(name)}"
    rendered = render(lambda axes: figures.curve(axes.item(), frame, quantity=name), name=stem)
    rows = tables.summary_rows(frame, quantities=[name])
    methods = sorted({row.method for row in rows})
    courses = [verdicts.course([row for row in rows if row.method == method]) for method in methods]
    kinds = {row.interval for row in rows}
    caption = " ".join(
        [f"{describe(name).label}.", *(text for kind, text in _BANDS.items() if kind in kinds)]
    )
    if tables.is_recorded(frame, f"init_{name}"):
        caption += " Dashed: the same predictor at initialisation."
    return Picture(stem, rendered, caption, f"{describe(name).label} against n. {'; '.join(courses)}.")


def paired_picture(frame: pd.DataFrame, name: str, *, method: str, baseline: str, prefix: str) -> Picture:
    """The paired differences of one quantity, from the records of one data set.

    Args:
        frame: Records as returned by `tidy_records`.
        name: Column that both methods have on some draw.
        method: Label of the first method.
        baseline: Label of the method that is subtracted.
        prefix: First part of the file name.

    Returns:
        The picture.
    """
    stem = f"{prefix}-{file_stem(name)}-{file_stem(method)}-minus-{file_stem(baseline)}"
    sides = {"method": method, "baseline": baseline}

    def draw(axes: np.ndarray) -> None:
        figures.paired_differences(axes.item(), frame, quantity=name, **sides)

    rendered = render(draw, name=stem)
    rows = tables.paired_rows(frame, quantities=[name], method=method, baseline=baseline)
    caption = f"Difference of {describe(name).noun} between methods trained on the same draw."
    if any(row.draws > 1 for row in rows):
        caption += " Bar: 95 % Student interval of the mean; faint: single draws."
    return Picture(stem, rendered, caption, verdicts.verdict(rows))


class RecordedNeurons(NamedTuple):
    """The neurons of one run before and after training, and a phrase that names the run."""

    before: figures.Neurons
    after: figures.Neurons
    run: str
    method: str
    effective: tuple[float, float]


def recorded_neurons(frame: pd.DataFrame) -> RecordedNeurons | None:
    """The neurons at the largest n_train, first seed, that recorded them.

    Args:
        frame: Records of one data set and method.

    Returns:
        The neurons; None where no record has any.
    """
    needed = [*_NEURONS, *_INITIAL_NEURONS]
    if not set(needed) <= set(frame.columns):
        return None
    kept = frame.dropna(subset=needed).sort_values(["n_train", "seed"], ascending=[False, True])
    if kept.empty:
        return None
    row = kept.iloc[0]
    before, after = (
        figures.Neurons(*(row[name] for name in names)) for names in (_INITIAL_NEURONS, _NEURONS)
    )
    run = f"{value_name('method', row['method'])}, n = {row['n_train']}, seed {row['seed']}"
    effective = (float(row.get(name, np.nan)) for name in ("init_effective_neurons", "effective_neurons"))
    return RecordedNeurons(before, after, run, str(row["method"]), (next(effective), next(effective)))


def neurons_picture(frame: pd.DataFrame, *, prefix: str) -> Picture | None:
    """Neurons before and after training, of the run that `recorded_neurons` chooses.

    Args:
        frame: Records of one data set and method.
        prefix: First part of the file name.

    Returns:
        The picture; None where no record has neurons.
    """
    found = recorded_neurons(frame)
    if found is None:
        return None
    stem, colour = f"{prefix}-neurons-{file_stem(found.method)}", looks([found.method])[found.method].colour

    def draw(axes: np.ndarray) -> None:
        figures.neurons_before_after(axes[0], found.before, found.after, colour=colour)

    rendered = render(draw, name=stem, size_inches=(8.4, 4.2), columns=2)
    who = f"{len(found.after.mass)} neurons ({found.run})"
    caption = f"{who}, projected on a plane. Area of a disc: mass of the neuron."
    before, after = (number_text(value) for value in found.effective)
    alt = f"{who}, at initialisation and after training. Effective number: {before}, then {after}."
    return Picture(stem, rendered, caption, alt, as_png=True, wide=True)


def examples_picture(stacks: Mapping[str, np.ndarray], *, titles: Sequence[str], stem: str) -> Picture:
    """Images above their deformed and noisy versions.

    Args:
        stacks: Arrays images, deformed and noisy, each (k, C, H, W).
        titles: Title of each column.
        stem: File name without ending.

    Returns:
        The picture.
    """
    columns = len(titles)
    size = (1.3 * columns + 0.4, 4.2)
    draw = partial(figures.examples_grid, **stacks, titles=titles)
    rendered = render(draw, name=stem, size_inches=size, rows=3, columns=columns)
    alt = f"{columns} images, each as it is, deformed and noisy ({', '.join(dict.fromkeys(titles))})."
    caption = "Each column: an image, the image deformed, and the image with noise of the same norm."
    return Picture(stem, rendered, caption, alt, as_png=True)
