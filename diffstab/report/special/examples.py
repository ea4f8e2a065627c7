"""Example images with their deformed and noisy versions."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from diffstab.errors import ArgumentError
from diffstab.report.document import Picture
from diffstab.report.rendering import file_stem, render
from diffstab.report.runs import Runs
from diffstab.report.special import read_arrays
from diffstab.report.words import value_text

_STACKS = ("images", "deformed", "noisy")
_COLUMNS = 9
"""Images of a picture, shared by the displacements."""


def examples_grid(
    axes: np.ndarray,
    images: np.ndarray,
    deformed: np.ndarray,
    noisy: np.ndarray,
    *,
    titles: Sequence[str] = (),
) -> np.ndarray:
    """Draw example images (first row) above their deformed and noisy versions, one scale per column.

    Args:
        axes: Array (3, k) of axes.
        images: (k, C, H, W) of any scale; three channels show in colour, others by their mean.
        deformed: The same images, deformed; same shape.
        noisy: The same images with noise; same shape.
        titles: Title of each column, if any.

    Returns:
        The same axes.

    Raises:
        ArgumentError: The shapes do not fit together.
    """
    stacks = [np.asarray(stack, dtype=np.float64) for stack in (images, deformed, noisy)]
    shapes = [stack.shape for stack in stacks]
    if stacks[0].ndim != 4 or len(set(shapes)) != 1:
        raise ArgumentError("images, deformed and noisy", "share one shape (k, C, H, W)", shapes)
    if np.shape(axes) != (3, shapes[0][0]):
        raise ArgumentError("axes", f"have shape {(3, shapes[0][0])}", np.shape(axes))
    for index in range(shapes[0][0]):
        shown = np.stack([_displayed(stack[index]) for stack in stacks])
        # The scale of the original: noise beyond it saturates rather than dim the picture.
        low, high = shown[0].min(), shown[0].max()
        scaled = np.clip((shown - low) / (high - low if high > low else 1.0), 0, 1)
        for ax, picture in zip(axes[:, index], scaled, strict=True):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, loc="center", fontsize=9)
    for ax, name in zip(axes[:, 0], ("Image", "Deformed", "Noisy"), strict=True):
        ax.set_ylabel(name)
    return axes


def _displayed(image: np.ndarray) -> np.ndarray:
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)


def examples_pictures(runs: Runs) -> Iterator[Picture]:
    """A picture for each folder that holds example images, some at each displacement."""
    for folder in runs.folders:
        path = folder / "examples.npz"
        if path.exists():
            name = runs.names[folder]
            stem = "deformations" + (f"-{file_stem(name)}" if len(runs.folders) > 1 else "")
            yield _stored_picture(path, path.stat().st_mtime_ns, stem, value_text("dataset", name))


@lru_cache(maxsize=4)
def _stored_picture(path: Path, changed_ns: int, stem: str, name: str) -> Picture:
    """The picture of a file, drawn once for all runs of a results folder."""
    return examples_picture(read_examples(path), stem=stem, name=name)


def examples_picture(
    stacks: Mapping[str, np.ndarray], *, stem: str = "deformations", name: str = ""
) -> Picture:
    """The first images at each displacement, with what deformation and noise make of them.

    Args:
        stacks: Arrays images, deformed, noisy (k, C, H, W) and delta_px (one value, or one per image).
        stem: Of the files.
        name: Of the data set.
    """
    delta_px = np.broadcast_to(np.ravel(stacks["delta_px"]), (len(stacks["images"]),))
    values = np.unique(delta_px)
    each = max(1, _COLUMNS // len(values))
    chosen = [index for value in values for index in np.flatnonzero(delta_px == value)[:each]]
    count, shown = len(chosen), [stacks[one][chosen] for one in _STACKS]
    titles = [f"δ = {delta_px[index]:g} px" for index in chosen]
    rendered = render(
        lambda axes: examples_grid(axes, *shown, titles=titles),
        size_inches=(1.25 * count + 0.4, 4.0),
        rows=3,
        columns=count,
    )
    of = f"{name}: " if name else ""
    caption = (
        f"{of}an image, the image deformed with a mean displacement of δ pixels, and the image with noise that changes "
        "its pixels as much as the deformation does."
    )
    alt = f"{of}{count} images, each as it is, deformed and noisy ({', '.join(dict.fromkeys(titles))})."
    return Picture(stem, rendered, caption, alt, as_png=True, wide=count > 4)


def read_examples(path: Path) -> dict[str, np.ndarray]:
    """Read the example images that `diffstab compare` writes.

    Returns:
        Arrays images, deformed and noisy, (k, C, H, W), and delta_px; empty where there is no file.

    Raises:
        ResultsError: The file is damaged.
    """
    if not path.exists():
        return {}
    what = f"the arrays {', '.join((*_STACKS, 'delta_px'))}"
    way_out = "Write it again, or remove it to report without examples."
    return read_arrays(path, _checked, what=what, way_out=way_out)


def _checked(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, if there are images in stacks of one shape, with a displacement for all or for each."""
    found = {name: stored[name] for name in (*_STACKS, "delta_px")}
    shape = found["images"].shape
    if len(shape) != 4 or 0 in shape or not all(found[name].shape == shape for name in _STACKS):
        shapes = ", ".join(f"{name} {found[name].shape}" for name in _STACKS)
        raise ValueError(f"of one shape (k, C, H, W): {shapes}")
    if found["delta_px"].size not in (1, shape[0]):
        raise ValueError(f"delta_px has {found['delta_px'].size} values for {shape[0]} images")
    for name, values in found.items():
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{name} holds no numbers")
    return found
