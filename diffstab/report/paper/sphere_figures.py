"""Figures of regression on the sphere: learning curves, exponents, spectra, predictors, fields."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report import sections
from diffstab.report.document import Picture, stacked
from diffstab.report.paper.drawn import Drawn, Folders, records_of
from diffstab.report.rendering import render
from diffstab.report.sphere import pictures
from diffstab.report.sphere.exponents import exponent_rows, exponent_table
from diffstab.report.tables import column
from diffstab.sphere import GaussianField
from diffstab.sphere.pictures import draw_field_on_circle, draw_field_on_sphere
from diffstab.streams import stream

FIELDS = (0.5, 4.0)
"""Smoothness of the fields that the source shows."""
_SEED = 0


def draw_constant_target(folders: Folders) -> Drawn:
    """Learning curves of a constant target: exact, trained and lazy predictors, a panel per dimension."""
    return _learning(_of_target(records_of(folders), ("constant",)))


def draw_gaussian_curves(folders: Folders) -> Drawn:
    """Learning curves of Gaussian random fields, a panel per smoothness and dimension."""
    return _learning(_of_target(records_of(folders), ("gaussian",)))


def draw_exponents(folders: Folders) -> Drawn:
    """The exponents of all learning curves, measured and predicted, as a table."""
    return Drawn([], [exponent_table(exponent_rows(records_of(folders)))])


def draw_anisotropic(folders: Folders) -> Drawn:
    """Learning curves of a target of few coordinates beside those of one of all, with their differences."""
    frame = records_of(folders)
    frame["mean_square_error"] = column(frame, "drawn_error").fillna(column(frame, "test_error"))
    listed = {
        str(dataset): sections.listed_differences(part, ["mean_square_error"])
        for dataset, part in frame.groupby("dataset", sort=True)
    }
    return Drawn([pictures.learning_picture(frame, exponent_rows(frame))], [stacked("Target", listed)])


def draw_spectral_bias(folders: Folders) -> Drawn:
    """The power of the error in each degree beside that of the target: random fields, and a constant."""
    frame = records_of(folders)
    is_field = frame["target"].astype("str").str.startswith("gaussian")
    parts = [part for part in (frame[is_field], frame[~is_field]) if len(part)]
    return Drawn(_known([pictures.spectrum_picture(part) for part in parts]))


def draw_predictors(folders: Folders) -> Drawn:
    """Predictors on the circle with their cusps, neurons on circle and 2-sphere, and numbers of atoms."""
    drawn: list[Picture | None] = []
    for _, part in records_of(folders).groupby("target", sort=True):
        drawn.append(pictures.circle_picture(part))
        drawn += [pictures.neurons_picture(part, dimension=dimension) for dimension in (2, 3)]
        drawn.append(pictures.atoms_picture(part))
    return Drawn(_known(drawn))


def draw_gaussian_pictures(folders: Folders) -> Drawn:
    """Realisations of fields of two smoothnesses on the circle and on the 2-sphere; no run is needed."""
    drawn = [_fields(2, draw_field_on_circle, None), _fields(3, draw_field_on_sphere, "mollweide")]
    return Drawn(drawn)


def _learning(frame: pd.DataFrame) -> Drawn:
    rows = exponent_rows(frame)
    return Drawn([pictures.learning_picture(frame, rows)], [exponent_table(rows)])


def _of_target(frame: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    kept = frame[frame["target"].astype("str").str.startswith(tuple(kinds))]
    if kept.empty:
        raise ResultsError(f"No record has a target {' or '.join(kinds)}. Run its learning curves.")
    return kept.reset_index(drop=True)


def _known(drawn: Sequence[Picture | None]) -> list[Picture]:
    found = [picture for picture in drawn if picture is not None]
    if not found:
        raise ResultsError("No record holds what the figure shows. Run `diffstab sphere curve` again.")
    return found


def _fields(dimension: int, place: Callable[..., object], projection: str | None) -> Picture:
    """One realisation for each smoothness, all from the same noise."""

    def draw(axes: np.ndarray) -> None:
        for ax, smoothness in zip(axes[0], FIELDS, strict=True):
            field = GaussianField(dimension, smoothness)
            place(ax, field, generator=stream(_SEED, "fields of a figure"))
            ax.set_title(f"ν = {smoothness:g}, d = {dimension}")

    where = "circle" if dimension == 2 else "2-sphere"
    shown = (
        "curves outside the circle where they are positive" if dimension == 2 else "a map, red is positive"
    )
    size = (3.4 * len(FIELDS), 3.5) if dimension == 2 else (4.8 * len(FIELDS), 2.9)
    stem = f"fields-d{dimension}"
    rendered = render(draw, name=stem, size_inches=size, columns=len(FIELDS), projection=projection)
    caption = f"Gaussian random fields on the {where}, one realisation each from the same noise; {shown}."
    alt = f"Random fields on the {where}: rough at smoothness {FIELDS[0]:g}, of few waves at {FIELDS[1]:g}."
    return Picture(stem, rendered, caption, alt, as_png=dimension == 3, wide=True)
