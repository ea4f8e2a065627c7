"""The pictures of the page of learning curves: each figure drawn, named, captioned and put into words."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from diffstab.errors import ArgumentError
from diffstab.kernels import ntk, random_feature_kernel
from diffstab.report import figures as shared
from diffstab.report.document import Picture
from diffstab.report.pictures import file_stem
from diffstab.report.rendering import render
from diffstab.report.sphere import figures
from diffstab.report.sphere.exponents import ExponentRow, measured_and_predicted
from diffstab.report.style import Look, looks
from diffstab.report.tables import column, is_recorded
from diffstab.results.schema import describe, value_name

_PANEL = (4.2, 3.7)
_CIRCLE_SIZE = 16
"""Training points of the predictors on the circle: few enough to see each gap."""

_GAPS = 4
_KINDS = {
    "exact": "The error of a sum of neurons or kernels against a constant is resolved exactly.",
    "averaged": "Lazy errors are averaged over the field in closed form.",
    "estimated": "Where it is estimated from values at test points, points far below the others are noise.",
}
_ANGLES = 8001


def panels(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return (title, records) of each dimension and target, one panel each; one target alone is not named."""
    several = frame["target"].nunique() > 1
    groups = frame.astype({"dimension": "int64"}).groupby(["dimension", "target"], sort=True)
    return [
        (f"{target_name(str(target))}, d = {dimension}" if several else f"d = {dimension}", part)
        for (dimension, target), part in groups
    ]


def _columns(frame: pd.DataFrame) -> int:
    """Panels in a row: the targets where there are several, else the dimensions."""
    targets = frame["target"].nunique()
    return int(targets if targets > 1 else frame["dimension"].nunique())


def target_name(target: str) -> str:
    """A recorded target as readers see it; one that is not known shows as it is."""
    if target.startswith("gaussian_"):
        return f"ν = {target.removeprefix('gaussian_')}"
    return {"anisotropic_2": "f(x₁, x₂)", "abs_teacher_1": "teacher of all coordinates"}.get(target, target)


def target_stem(frame: pd.DataFrame) -> str:
    """The part of a file name that stands for the target: gaussian_1p5 for gaussian_1.5."""
    return file_stem(str(frame["target"].iloc[0]).replace(".", "p"))


def learning_picture(frame: pd.DataFrame, exponents: Sequence[ExponentRow]) -> Picture:
    """The learning curves, a panel per target and dimension."""
    targets = ", ".join(target_name(target) for target in sorted(set(frame["target"])))
    parts, shown = panels(frame), looks(frame["method"])
    stem = f"{target_stem(frame)}-learning-curves"

    def draw(axes: np.ndarray) -> None:
        for ax in axes.flat[len(parts) :]:
            ax.set_axis_off()
        for ax, (title, part) in zip(axes.flat, parts):
            figures.learning_curves(
                ax, part, exponents=exponents, theory=_theory(part), methods=_present(shown, part)
            )
            _finish(ax, title)

    caption = (
        "Test error. Marker and bar: geometric mean over seeds and its 95 % interval; faint: single seeds. "
        "Dashed: the predicted exponent, through the fit at its largest n."
    )
    if (column(frame, "averaged") == 1).any():
        caption += (
            " Lazy errors are averaged exactly over the field, so that seeds differ in their points alone."
        )
    if is_recorded(frame, "theory_error"):
        caption += (
            " Dotted: theory of kernel regression from the eigenvalues of the kernel, without a fit; it takes"
        )
        caption += (
            " features to be independent, and is too low for smooth targets in low dimension without a ridge."
        )
    said = [
        f"{value_name('method', row.method)}, {row.dataset}: exponent {measured_and_predicted(row)}"
        for row in exponents
        if row.fit is not None and row.dataset in set(frame["dataset"])
    ]
    alt = f"Test error against n, target: {targets}. {'; '.join(said)}."
    columns = _columns(frame)
    return _wide(stem, draw, columns, caption, alt, rows=-(-len(parts) // columns))


def spectrum_picture(frame: pd.DataFrame) -> Picture | None:
    """The power of the error per degree at two sizes, a panel per target; None where it is not recorded."""
    if "error_power" not in frame:
        return None
    known = frame.dropna(subset="error_power")
    if known.empty:
        return None
    sizes = _shared_sizes(known)
    chosen = [int(sizes[len(sizes) // 2]), int(sizes[-1])][-min(2, len(sizes)) :]
    parts = [(title, part[part["n_train"] == n], n) for n in chosen for title, part in panels(known)]
    parts = [(title, part, n) for title, part, n in parts if len(part)]
    columns, shown = _columns(known), looks(frame["method"])
    stem = f"{target_stem(frame)}-spectra"

    def draw(axes: np.ndarray) -> None:
        for ax in axes.flat[len(parts) :]:
            ax.set_axis_off()
        for ax, (title, part, size) in zip(axes.flat, parts):
            _spectrum(ax, part, shown)
            _finish(ax, f"{title}, n = {size}")

    caption = (
        "Power of the error in each degree k, mean over seeds. Grey: power of the target. Dashed: k_c, up to which "
        "there are as many modes as training points."
    )
    kinds = set(known["power_kind"].dropna()) if "power_kind" in known else set()
    caption += " " + " ".join(text for kind, text in _KINDS.items() if kind in kinds)
    if is_recorded(frame, "theory_power"):
        caption += " Dotted: theory of kernel regression."
    alt = "Power of the error per degree: small below k_c, that of the target or of the predictor above."
    return _wide(stem, draw, columns, caption, alt, rows=-(-len(parts) // columns))


def _shared_sizes(frame: pd.DataFrame) -> np.ndarray:
    """The sizes at which most methods have a record, ascending."""
    methods = frame.groupby("n_train")["method"].nunique()
    shared: np.ndarray = methods.index[methods == methods.max()].to_numpy()
    return shared


def _spectrum(ax: Axes, part: pd.DataFrame, shown: Mapping[str, Look]) -> None:
    powers = {str(method): _mean_list(group, "error_power") for method, group in part.groupby("method")}
    theory = {}
    if "theory_power" in part:
        known = part.dropna(subset="theory_power")
        theory = {str(method): _mean_list(group, "theory_power") for method, group in known.groupby("method")}
    target = (
        _mean_list(part.dropna(subset="target_power"), "target_power") if "target_power" in part else None
    )
    first = part.iloc[0]
    figures.error_spectrum(
        ax,
        powers,
        target=target,
        learnt_degree=float(first["learnt_degree"]),
        theory=theory,
        methods=_present(shown, part),
    )


def _mean_list(part: pd.DataFrame, name: str) -> np.ndarray:
    rows = [np.asarray(value, dtype=np.float64) for value in part[name].dropna()]
    mean: np.ndarray = np.mean(rows, axis=0)
    return mean


def quantity_picture(frame: pd.DataFrame, name: str, caption: str) -> Picture | None:
    """A quantity against n for one target, mean and band over seeds, a panel per dimension; None if not recorded."""
    if not is_recorded(frame, name):
        return None
    parts = [(title, part) for title, part in panels(frame) if is_recorded(part, name)]
    shown = looks(frame["method"])

    def draw(axes: np.ndarray) -> None:
        for ax, (title, part) in zip(axes[0], parts):
            shared.curve(ax, part, quantity=name, methods=_present(shown, part))
            ax.set_xlabel("Number of training points, n")
            _finish(ax, title)

    stem = f"{target_stem(frame)}-{file_stem(name)}"
    return _wide(stem, draw, len(parts), caption, f"{describe(name).label} against n.")


def atoms_picture(frame: pd.DataFrame) -> Picture | None:
    """The number of atoms against n for one target, a panel per dimension; None where it is not recorded."""
    if not is_recorded(frame, "n_atoms"):
        return None
    parts = [(title, part) for title, part in panels(frame) if is_recorded(part, "n_atoms")]
    shown = looks(frame["method"])

    def draw(axes: np.ndarray) -> None:
        for ax, (title, part) in zip(axes[0], parts):
            figures.atoms(ax, part, methods=_present(shown, part))
            _finish(ax, title)

    known = frame.dropna(subset="n_atoms")
    most = float((known["n_atoms"] / known["n_train"]).max())
    caption = "Atoms of the predictor, a point per run; the grey line is n_A = n."
    alt = f"Number of atoms against n: at most {most:.2f} n in {len(known)} runs."
    return _wide(f"{target_stem(frame)}-atoms", draw, len(parts), caption, alt)


def circle_picture(frame: pd.DataFrame) -> Picture | None:
    """The predictors on the circle, whole and around the largest gap; None where no run recorded them."""
    rows = _sums(frame, dimension=2, least=_CIRCLE_SIZE)
    if rows.empty:
        return None
    first = rows.iloc[0]
    points, values = _angles(_points(first, "points")), np.asarray(first["values"], dtype=np.float64)
    predictors = {str(row["method"]): _on_circle(row) for _, row in rows.iterrows()}
    shown = looks(frame["method"])

    def draw(axes: np.ndarray) -> None:
        for ax, window in zip(axes[0], (None, _window(points))):
            figures.circle_predictors(
                ax, predictors, points=points, values=values, window=window, methods=shown
            )
        _finish(axes[0, 0], f"d = 2, n = {len(points)}")
        _finish(axes[0, 1], "around the largest gap")

    caption = (
        f"Predictors on the circle from {len(points)} training points (seed {first['seed']}), whole and around the "
        "largest gap between points. Ticks below: where a neuron has its kink."
    )
    spans = [
        f"{value_name('method', name)}: {one.values.min():.3g} to {one.values.max():.3g}"
        for name, one in predictors.items()
    ]
    alt = f"Values of the predictors between the training points. {'; '.join(spans)}."
    return _wide(f"{target_stem(rows)}-circle", draw, 2, caption, alt)


def neurons_picture(frame: pd.DataFrame, *, dimension: int) -> Picture | None:
    """Neurons on the circle (d = 2) or the 2-sphere (d = 3) at two sizes; None where no run recorded them."""
    from diffstab.sparsity import draw_neurons_on_circle, draw_neurons_on_sphere

    if dimension not in (2, 3):
        raise ArgumentError("dimension", "be 2 or 3", dimension)
    rows = _sums(frame[frame["regime"] == "feature"], dimension=dimension, least=_CIRCLE_SIZE, sizes=2)
    if rows.empty:
        return None
    place = draw_neurons_on_circle if dimension == 2 else draw_neurons_on_sphere

    def draw(axes: np.ndarray) -> None:
        for ax, (_, row) in zip(axes[0], rows.iterrows()):
            weights = torch.as_tensor(np.asarray(row["coefficients"], dtype=np.float64))
            centres, points = (torch.as_tensor(_points(row, name)) for name in ("centres", "points"))
            place(ax, centres, weights.abs(), signs=weights, x=points)
            ax.set_title(f"{value_name('method', str(row['method']))}, n = {row['n_train']}", pad=22)

    target = target_stem(rows)
    where = (
        "on the circle, ticks: training points" if dimension == 2 else "on a map, crosses: training points"
    )
    caption = f"Neurons {where}. Area of a disc: mass of the neuron; colour: sign of its outgoing weight."
    counts = [f"{len(row['coefficients'])} at n = {row['n_train']}" for _, row in rows.iterrows()]
    alt = f"Directions of the neurons of the feature predictor, d = {dimension}: {', '.join(counts)}."
    return _wide(
        f"{target}-neurons-d{dimension}",
        draw,
        len(rows),
        caption,
        alt,
        projection="mollweide" if dimension == 3 else None,
    )


def _sums(frame: pd.DataFrame, *, dimension: int, least: int, sizes: int = 1) -> pd.DataFrame:
    """Records that hold the predictor's sum: of the first seed, the smallest sizes from `least` on."""
    if "centres" not in frame:
        return frame.iloc[:0]
    known = frame[(frame["dimension"] == dimension)].dropna(subset="centres")
    # Where all sizes are smaller, the largest of them.
    enough = known[known["n_train"] >= min(least, known["n_train"].max())]
    chosen = np.unique(enough["n_train"])[:: max(1, enough["n_train"].nunique() // 2)][:sizes]
    kept = enough["n_train"].isin(chosen) & (enough["seed"] == enough["seed"].min())
    return cast("pd.DataFrame", enough[kept])


def _points(row: pd.Series, name: str) -> np.ndarray:
    return np.asarray(row[name], dtype=np.float64).reshape(-1, int(row["dimension"]))


def _angles(points: np.ndarray) -> np.ndarray:
    angles: np.ndarray = np.arctan2(points[:, 1], points[:, 0])
    return angles


def _on_circle(row: pd.Series) -> figures.CirclePredictor:
    """The recorded sum f(x) = sum_j g_j kappa(x . y_j) on a fine grid of angles."""
    angles = np.linspace(-np.pi, np.pi, _ANGLES)
    grid = torch.as_tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    centres = torch.as_tensor(_points(row, "centres"))
    weights = torch.as_tensor(np.asarray(row["coefficients"], dtype=np.float64))
    if row["predictor"] == "ntk":
        values = ntk(grid, centres) @ weights
    elif row["predictor"] == "random_features":
        values = random_feature_kernel(grid, centres) @ weights
    elif row["regime"] == "feature":
        values = torch.relu(grid @ centres.T) @ weights
        turned = _angles(centres.numpy())[:, None] + np.array([0.5, -0.5]) * np.pi
        kinks = (turned.ravel() + np.pi) % (2 * np.pi) - np.pi
        return figures.CirclePredictor(angles, values.numpy(), kinks)
    else:
        raise ArgumentError("predictor", "be one whose sum is known", repr(row["predictor"]))
    return figures.CirclePredictor(angles, values.numpy(), np.empty(0))


def _window(points: np.ndarray) -> tuple[float, float]:
    """Angles from `_GAPS` // 2 gaps before the largest gap to as many after it, within the circle."""
    ordered = np.sort(points)
    widest = int(np.argmax(np.diff(ordered)))
    low, high = max(0, widest - _GAPS // 2), min(len(ordered) - 1, widest + 1 + _GAPS // 2)
    margin = 0.05 * (ordered[high] - ordered[low])
    return float(ordered[low] - margin), float(ordered[high] + margin)


def _theory(part: pd.DataFrame) -> dict[str, figures.Theory]:
    """The recorded theory of each method against n."""
    if not is_recorded(part, "theory_error"):
        return {}
    found = {}
    for method, group in part.dropna(subset="theory_error").groupby("method"):
        means = group.groupby("n_train")["theory_error"].mean()
        found[str(method)] = figures.Theory(means.index.to_list(), means.to_list())
    return found


def _present(shown: Mapping[str, Look], part: pd.DataFrame) -> dict[str, Look]:
    return {method: look for method, look in shown.items() if method in set(part["method"])}


def _finish(ax: Axes, title: str) -> None:
    """A legend above the panel and what the panel is, below it."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    ax.set_xlabel(f"{ax.get_xlabel()} ({title})")


def _wide(
    stem: str,
    draw: Callable[[np.ndarray], object],
    columns: int,
    caption: str,
    alt: str,
    *,
    rows: int = 1,
    projection: str | None = None,
) -> Picture:
    # A map is half as high as wide.
    size = (_PANEL[0] * columns, rows * (_PANEL[1] if projection is None else 0.75 * _PANEL[1]))
    rendered = render(draw, name=stem, size_inches=size, rows=rows, columns=columns, projection=projection)
    return Picture(stem, rendered, caption, alt, wide=columns > 1)
