"""Certified, attacked and random accuracy against the norm of the field: picture, table, sentences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from diffstab.measuring.rows import Row
from diffstab.measuring.sandwich import read_sandwiches
from diffstab.report.document import Picture, Table, TableCell
from diffstab.report.rendering import file_stem, render
from diffstab.report.runs import Runs

_LOOKS = {
    ("smoothed", "random"): ("#009E73", "^", "random field"),
    ("smoothed", "attacked"): ("#D55E00", "s", "worst field found"),
    ("smoothed", "certified"): ("#0072B2", "", "certified"),
    ("plain", "random"): ("#009E73", "^", "random field"),
    ("plain", "attacked"): ("#D55E00", "s", "worst field found"),
}
_TITLES = {"smoothed": "Smoothed classifier h", "plain": "The model itself, f"}


def certified_pictures(runs: Runs) -> Iterator[Picture]:
    """Accuracy of each model against the norm of the field, of the smoothed classifier and of the model itself."""
    found = read_sandwiches(runs.folders[0])
    for number, (keys, rows) in enumerate(_of_models(found)):
        panels = [name for name in _TITLES if (rows["classifier"] == name).any()]
        rendered = render(
            partial(_draw, rows=rows, panels=panels),
            size_inches=(4.6 * len(panels), 4.0),
            columns=len(panels),
        )
        caption = (
            f"{keys[0]}: share of {rows['images'].iloc[0]} images {_counted(rows)} under every field up to a norm "
            "(certified), under the worst field that an attack found, and under a random field of that norm. Shaded: "
            "what the finite number of draws leaves open."
        )
        stem = f"measure_certified-{number}-{file_stem(str(keys[0]))}"
        yield Picture(stem, rendered, caption, f"{caption} {_told(rows)}", wide=len(panels) > 1)


def certified_tables(runs: Runs) -> Iterator[Table]:
    """The numbers of the picture."""
    found = read_sandwiches(runs.folders[0])
    for number, (keys, rows) in enumerate(_of_models(found)):
        lines = ["random", "attacked", "certified"]
        shown = [line for line in lines if (rows["line"] == line).any()]
        cells = rows.assign(text=[_share(row) for row in rows.to_dict("records")])
        cells = cells.pivot(index=["classifier", "norm", "rms_px"], columns="line", values="text")[shown]
        cells = cells[cells[shown[0]].notna()].fillna("–").sort_index(ascending=[False, True, True])
        headers = [
            "Classifier",
            "Norm",
            "Random field of it (px rms)",
            *(line.capitalize() for line in shown),
        ]
        listed = [
            _cells(str(classifier), float(norm), float(rms_px), texts)
            for (classifier, norm, rms_px), texts in zip(list(cells.index), cells.to_numpy(), strict=True)
        ]
        caption = f"{keys[0]}: accuracy [what the draws leave open]"
        yield Table(caption, headers, listed, f"certified-{number}")


def _cells(classifier: str, norm: float, rms_px: float, texts: Any) -> list[TableCell]:
    first = [
        TableCell(_TITLES[classifier], classifier),
        TableCell(f"{norm:.3g}", norm),
        TableCell(f"{rms_px:.2g}", rms_px),
    ]
    return [*first, *(TableCell(text) for text in texts)]


def certified_sentences(runs: Runs) -> list[str]:
    """What the lines mean, what is proved and what is not."""
    found = read_sandwiches(runs.folders[0])
    if found.empty:
        return []
    row = found.iloc[0]
    return [
        "The smoothed classifier h takes the class that the model gives most often when a random field is added to the "
        "field u. Certified: no field u of the span up to that norm changes the class, with probability "
        f"{100 * (1 - row['alpha']):g} % for each image. An attack shows what goes wrong already (the worst of "
        "all fields tried, random ones included), so the truth lies between the two lines.",
        "The norm is whitened: |u|² = Σ (i² + j²) |C_ij|² / T, the energy of the field's gradient in units of the "
        f"temperature T of δ = {row['delta_px']:.3g} px. It is no displacement in pixels. The span is that of the "
        f"sine modes up to c = {row['cutoff']}. Fields add before one warp: a warp of a warped image is another map. "
        "Fields that fold the image are not excluded. Nothing is proved of the model itself.",
        f"Smoothing noise σ = {row['sigma']:.3g}, {row['draws']} draws for each image and field; they cap the "
        f"certified norm. No majority was shown for {100 * row['abstained']:.0f} % of the images.",
    ]


def _of_models(found: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    if found.empty:
        return
    keys = ["model", "weights_hash", "delta_px", "cutoff", "sigma", "draws", "images"]
    yield from found.groupby(keys, sort=False)


def _draw(axes: np.ndarray, rows: pd.DataFrame, panels: list[str]) -> None:
    for ax, name in zip(axes[0], panels, strict=True):
        for (classifier, line), (colour, marker, label) in _LOOKS.items():
            part = rows[(rows["classifier"] == classifier) & (rows["line"] == line)]
            if classifier != name or part.empty:
                continue
            ax.plot(part["norm"], part["accuracy"], color=colour, marker=marker, markersize=4, label=label)
            low, high = part["accuracy_low"], part["accuracy_high"]
            ax.fill_between(part["norm"], low, high, color=colour, alpha=0.15, linewidth=0)
        ax.set(title=_TITLES[name], xlabel="Whitened norm of the field, |u|", ylim=(-0.02, 1.02))
        ax.set_ylabel("Accuracy" if bool(rows["is_labelled"].iloc[0]) else "Share that keeps its class")
        ax.legend(frameon=False, loc="best")
        _add_pixels(ax, rows)


def _add_pixels(ax: Any, rows: pd.DataFrame) -> None:
    """Second scale: displacement of a random field of that norm."""
    last = rows.nlargest(1, "norm").iloc[0]
    factor = float(last["rms_px"] / last["norm"])
    scale = ax.secondary_xaxis("top", functions=(lambda norm: norm * factor, lambda px: px / factor))
    scale.set_xlabel("rms displacement of a random field of that norm (px)", fontsize=8)


def _counted(rows: pd.DataFrame) -> str:
    return (
        "with the right class"
        if bool(rows["is_labelled"].iloc[0])
        else "that keep the class of h without a field"
    )


def _share(row: Row) -> str:
    if row["classifier"] == "plain":  # no draws
        return f"{100 * row['accuracy']:.0f} %"
    ends = f"[{100 * row['accuracy_low']:.0f}, {100 * row['accuracy_high']:.0f}]"
    return f"{100 * row['accuracy']:.0f} % {ends}"


def _told(rows: pd.DataFrame) -> str:
    smoothed = rows[rows["classifier"] == "smoothed"]
    texts = []
    for line, part in smoothed.groupby("line", sort=False):
        ends = [f"{_share(row)} at norm {row['norm']:.3g}" for row in (part.iloc[0], part.iloc[-1])]
        texts.append(f"{line}: {' and '.join(ends)}.")
    return " ".join(texts)
