"""The pictures of the report of a comparison: each figure drawn, named, captioned and put into words."""

import re
import zlib
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from diffstab.reporting import figures, tables, verdicts
from diffstab.reporting.document import Picture
from diffstab.reporting.quantities import method_name, number_text, quantity
from diffstab.reporting.rendering import render
from diffstab.reporting.style import looks

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
    return kept if kept == text else f"{kept}-{zlib.crc32(text.encode()):08x}"


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
    rendered = render(partial(figures.curve, frame=frame, quantity=name), name=stem)
    rows = tables.summary_rows(frame, quantities=[name])
    methods = sorted({row.method for row in rows})
    courses = [verdicts.course([row for row in rows if row.method == method]) for method in methods]
    kinds = {row.interval for row in rows}
    caption = " ".join(
        [f"{quantity(name).label}.", *(text for kind, text in _BANDS.items() if kind in kinds)]
    )
    if tables.is_recorded(frame, f"init_{name}"):
        caption += " Dashed: the same predictor at initialisation."
    return Picture(stem, rendered, caption, f"{quantity(name).label} against n. {'; '.join(courses)}.")


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
    draw = partial(figures.paired_differences, frame=frame, quantity=name, method=method, baseline=baseline)
    rendered = render(draw, name=stem)
    rows = tables.paired_rows(frame, quantities=[name], method=method, baseline=baseline)
    caption = f"Difference of {quantity(name).noun} between methods trained on the same draw."
    if any(row.draws > 1 for row in rows):
        caption += " Bar: 95 % Student interval of the mean; faint: single draws."
    return Picture(stem, rendered, caption, verdicts.verdict(rows))


def neurons_picture(frame: pd.DataFrame, *, prefix: str) -> Picture | None:
    """Neurons before and after training at the largest n_train, first seed, that recorded them.

    Args:
        frame: Records of one data set and method.
        prefix: First part of the file name.

    Returns:
        The picture; None where no record has neurons.
    """
    needed = [*_NEURONS, *_INITIAL_NEURONS]
    if not set(needed) <= set(frame.columns):
        return None
    kept = frame.dropna(subset=needed).sort_values(["n_train", "seed"], ascending=[False, True])
    if kept.empty:
        return None
    row = kept.iloc[0]
    method, n_train, seed = str(row["method"]), int(row["n_train"]), int(row["seed"])
    before, after = (
        figures.Neurons(*(row[name] for name in names)) for names in (_INITIAL_NEURONS, _NEURONS)
    )
    stem = f"{prefix}-neurons-{file_stem(method)}"
    colour = looks([method])[method].colour
    draw = partial(figures.neurons_before_after, before=before, after=after, colour=colour)
    rendered = render(draw, name=stem, size_inches=(8.4, 4.2), columns=2)
    who = f"{len(after.mass)} neurons of {method_name(method)} at n = {n_train}, seed {seed}"
    caption = f"{who}, projected on a plane. Area of a disc: mass of the neuron."
    numbers = [number_text(float(row.get(f"{start}effective_neurons", np.nan))) for start in ("init_", "")]
    alt = f"{who}, at initialisation and after training. Effective number: {numbers[0]}, then {numbers[1]}."
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
