"""What a measurement has found: tables, a short text, plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.measuring.amounts import DIFFEOMORPHISM, parse_amount
from diffstab.measuring.comparison import compared, ranking
from diffstab.measuring.pictures import draw_depth, draw_plane
from diffstab.measuring.rows import OUTPUT, Row
from diffstab.results.numbers import number_with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BY = ["deformation", "cutoff"]


@dataclass(frozen=True)
class Measurement:
    """D, G and R of a model's output and layers.

    Attributes:
        frame: A row per deformation and layer: D, G and R with the ends of their intervals and their medians, what they
            are made of, number of images, accuracy, how they were measured.
        images: A row per deformation and image: what it adds to D and G of the output, label, prediction, file.
        notes: What to bear in mind, a sentence each.
    """

    frame: pd.DataFrame
    images: pd.DataFrame
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, rows: Iterable[Mapping[str, Any]], images: pd.DataFrame, notes: Sequence[str] = ()
    ) -> Measurement:
        """Return the measurement of rows of the layers."""
        frame = pd.DataFrame(list(rows))
        return cls(frame, images, (*notes, *cautions(frame)))

    def __str__(self) -> str:
        """A short table."""
        return "\n".join([*table_lines(self.frame), *self.notes])

    @property
    def remarks(self) -> list[str]:
        """What was said of the model and the data; cautions follow from the frame."""
        return [note for note in self.notes if note not in cautions(self.frame)]

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the output by name, for a logger."""
        rows = self.frame[self.frame["layer"] == OUTPUT]
        many = len(rows) > 1
        found: dict[str, float] = {}
        for row in rows.to_dict("records"):
            end = f" ({row['deformation']}, c={row['cutoff']})" if many else ""
            found |= {f"{name}{end}": float(row[name]) for name in ("D", "G", "R", "accuracy")}
        return found

    def plot_depth(self, ax: Axes | None = None, *, deformation: str = "", cutoff: int = 0) -> Axes:
        """Draw D, G and R against depth.

        Args:
            ax: Where; None makes a figure.
            deformation: Which, as the frame names it; "" for the first one.
            cutoff: Its cut-off; 0 for the first one.
        """
        rows = self.frame
        for name, value in (("deformation", deformation), ("cutoff", cutoff)):
            rows = rows[rows[name] == (value or rows[name].iloc[0])]
            if rows.empty:
                raise ArgumentError(name, f"be one of {sorted(set(self.frame[name]))}", repr(value))
        return draw_depth(_axes(ax), rows, quantities(rows))

    def plot_plane(self, ax: Axes | None = None, *, quantity: str = "R", layer: str = OUTPUT) -> Axes:
        """Draw a quantity over displacement and cut-off.

        Args:
            ax: Where; None makes a figure.
            quantity: "D", "G" or "R".
            layer: Which.
        """
        rows = self.frame[(self.frame["deformation_kind"] == DIFFEOMORPHISM) & (self.frame["layer"] == layer)]
        if rows.empty:
            raise ArgumentError("layer", f"be one of {sorted(set(self.frame['layer']))}", repr(layer))
        return draw_plane(_axes(ax), rows, quantity)


def compare_models(measurements: Mapping[str, Measurement], *, seed: int = 0) -> Comparison:
    """Compare models that were measured on the same images with the same settings.

    Args:
        measurements: By label.
        seed: Of the resamples.

    Raises:
        ArgumentError: They are of other images.
    """
    statistics = {str(one.frame["statistic"].iloc[0]) for one in measurements.values()}
    if len(statistics) > 1:
        raise ArgumentError("measurements", "be of one protocol", "means and medians")
    images = {label: one.images for label, one in measurements.items()}
    pairs = compared(images, seed=seed, statistic=statistics.pop())
    outputs = [
        one.frame[one.frame["layer"] == OUTPUT].assign(model=label) for label, one in measurements.items()
    ]
    return Comparison(pairs, ranking(pd.concat(outputs, ignore_index=True), pairs))


@dataclass(frozen=True)
class Comparison:
    """Models on the same images, deformations and noise.

    Attributes:
        pairs: From `diffstab.measuring.comparison.compared`.
        ranking: From `diffstab.measuring.comparison.ranking`, by R.
    """

    pairs: pd.DataFrame
    ranking: pd.DataFrame

    def __str__(self) -> str:
        """The ranking, and the paired differences and ratios of R."""
        ranks = [
            f"{row['rank']}. {row['model']}: R = {interval_text(row, 'R')} ({deformation_text(row)})"
            for row in self.ranking.to_dict("records")
        ]
        pairs = [
            f"{row['model_a']} against {row['model_b']}: R differs by {interval_text(row, 'R_difference')}, "
            f"ratio {interval_text(row, 'R_ratio')} ({deformation_text(row)})"
            for row in self.pairs.to_dict("records")
        ]
        return "\n".join([*ranks, *pairs])


def cautions(frame: pd.DataFrame) -> list[str]:
    """Return what to bear in mind about rows of layers, a sentence each."""
    found = []
    constant = sorted(set(frame.loc[~(frame["denominator"] > 0), "layer"]))
    if constant:
        found.append(f"Constant on these images, so without D, G and R: {', '.join(constant)}.")
    output = frame[frame["layer"] == OUTPUT]
    if (output["deformation_top_share"] > 0.5).any() or (output["noise_top_share"] > 0.5).any():
        found.append("A twentieth of the images carries more than half of D or G: take more images.")
    bad = output[output.get("is_admissible", pd.Series(1.0, output.index)) == 0]
    if len(bad):
        listed = "; ".join(dict.fromkeys(deformation_text(row) for row in bad.to_dict("records")))
        found.append(
            f"Outside the admissible temperatures (fields fold, or move less than half a pixel): {listed}."
        )
    if "E" in frame:
        unmapped = list(dict.fromkeys(frame.loc[frame["E"].isna() & (frame["denominator"] > 0), "layer"]))
        found += [f"No maps of the image, so without E: {', '.join(unmapped)}."] if unmapped else []
    if "floor" in frame:
        near = frame[frame["D_low"] <= 2 * frame["floor"]]
        if len(near):
            layers = ", ".join(dict.fromkeys(near["layer"]))
            found.append(f"D reaches down to twice its floor, the blur of interpolation alone: {layers}.")
    return found


def table_lines(frame: pd.DataFrame) -> list[str]:
    """Return rows of layers as a short table: one block per model and deformation."""
    lines = []
    keys = [name for name in ("model", *_BY) if name in frame]
    for _, part in frame.groupby(keys, sort=False):
        first = part.iloc[0].to_dict()
        lines.append(_heading(first))
        names = quantities(part)
        cells = [
            [row["layer"], *(interval_text(row, name) for name in names)] for row in part.to_dict("records")
        ]
        table = [["layer", *names], *cells]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
    return lines


def quantities(frame: pd.DataFrame) -> str:
    """Return the letters of what was measured: D, G and R, and E where it was asked for."""
    return "DGRE" if "E" in frame and frame["E"].notna().any() else "DGR"


def _heading(row: Row) -> str:
    parts = [str(row.get("model", "")), deformation_text(row), f"{row['images']} images of {row['dataset']}"]
    if row["accuracy"] == row["accuracy"]:
        parts.append(f"accuracy {100 * row['accuracy']:.1f} %")
    if row.get("protocol"):
        parts.append(f"protocol {row['protocol']}")
    return ", ".join(parts)


def deformation_text(row: Row) -> str:
    """Return the deformation of a row in words."""
    return parse_amount(str(row["deformation"]), cutoff=int(row["cutoff"])).label


def interval_text(row: Row, name: str) -> str:
    """Return a number of a row with its interval; a dash where it is undefined."""
    return number_with_interval(
        row[name], row[f"{name}_low"], row[f"{name}_high"], signed=name.endswith("_difference")
    )


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]
