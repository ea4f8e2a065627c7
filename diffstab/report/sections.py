"""The parts of the report of a comparison of methods, each worked out from the records alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from diffstab.report import tables, verdicts
from diffstab.report.document import Cell, Picture, Section, Table
from diffstab.report.numbers import interval_text, number_text
from diffstab.report.pictures import curve_picture, examples_picture, neurons_picture, paired_picture
from diffstab.report.tables import PairedRow, SummaryRow
from diffstab.results.schema import describe, value_name

_PER_FIGURE = 6
_READING = (
    "D is the mean square change of the predictor under smooth deformations of the image, divided by its mean "
    "square change from one image to another. G is the same for noise in place of the deformation, and "
    "R = D / G. Small means stable."
)


def findings(frame: pd.DataFrame) -> Section:
    """What the paired differences of the first pair of methods say, per data set and headline quantity."""
    several = frame["dataset"].nunique() > 1
    found = []
    for dataset, part in frame.groupby("dataset", sort=True):
        first = _verdicts(part, tables.method_pairs(part)[:1])
        found += [(f"{label} ({dataset})" if several else label, text) for label, text in first]
    nothing = "No draw of the training set has a feature and a lazy method: nothing to compare."
    return Section("What the numbers say", () if found else [nothing], verdicts=found)


def data_set(frame: pd.DataFrame) -> Section:
    """The heading of one data set, with what its further pairs of methods say."""
    further = _verdicts(frame, tables.method_pairs(frame)[1:])
    return Section(str(frame["dataset"].iloc[0]), verdicts=further)


def performance(frame: pd.DataFrame, *, prefix: str) -> Section:
    """Test error of one data set: curve, paired differences, and the tables of all headline quantities."""
    drawn = _quantity_pictures(frame, ["test_error"], prefix)
    shown = [listed_summaries(frame, tables.HEADLINE), listed_differences(frame, tables.HEADLINE)]
    kept = [table for table in shown if table.rows]
    return Section("Test error and summary", pictures=drawn, tables=kept, level=3)


def stability(frame: pd.DataFrame, *, prefix: str) -> Section:
    """D, G and R of one data set: curves and paired differences, before and after training."""
    changes = []
    for _, part in frame.groupby("method", sort=True):
        rows = [tables.summary_rows(part, quantities=[name]) for name in ("R", "init_R")]
        changes.append(verdicts.change_from_initial(*rows))
    drawn = _quantity_pictures(frame, ["D", "G", "R"], prefix)
    return Section("Stability", [_READING, *filter(None, changes)], pictures=drawn, level=3)


def sparsity(frame: pd.DataFrame, *, prefix: str) -> Section | None:
    """Neurons of one data set before and after training; None where no record has any."""
    drawn = [neurons_picture(part, prefix=prefix) for _, part in frame.groupby("method", sort=True)]
    pictures = [picture for picture in drawn if picture is not None]
    shown = listed_sparsity(frame)
    if not shown.rows and not pictures:
        return None
    kept = [shown] if shown.rows else []
    return Section("Neurons before and after training", pictures=pictures, tables=kept, level=3)


def training(frame: pd.DataFrame) -> Section:
    """How training of one data set went."""
    names = ("train_error", "margin_share", "steps", "flow_time", "train_seconds")
    rows = []
    for row in tables.training_rows(frame):
        means = [_mean(name, getattr(row, name)) for name in names]
        line = [
            _text(value_name("method", row.method)),
            _count(row.n_train),
            *means,
            _text(row.stop_reasons or "–"),
        ]
        rows.append([*line, _count(row.seeds)])
    headers = ["Method", "n", *(describe(name).heading for name in names), "Stopped by", "Seeds"]
    return Section("Training", tables=[Table("Means over seeds", headers, rows)], level=3)


def examples(stacks: Mapping[str, np.ndarray]) -> Section:
    """Example images with their deformed and noisy versions, a figure for each displacement.

    Args:
        stacks: Arrays images, deformed, noisy (k, C, H, W) and delta_px (one value, or one per image).
    """
    delta_px = np.broadcast_to(np.ravel(stacks["delta_px"]), (len(stacks["images"]),))
    drawn: list[Picture] = []
    for value in dict.fromkeys(delta_px.tolist()):
        same = np.flatnonzero(delta_px == value)
        for start in range(0, len(same), _PER_FIGURE):
            rows = same[start : start + _PER_FIGURE]
            shown = {name: stacks[name][rows] for name in ("images", "deformed", "noisy")}
            titles = [f"δ = {value:g} px"] * len(rows)
            drawn.append(examples_picture(shown, titles=titles, stem=f"examples-{len(drawn) + 1}"))
    return Section("Images, deformed and noisy", pictures=drawn)


def missing(cells: pd.DataFrame) -> Section:
    """The cells of the grid without a record."""
    rows = [
        [
            _text(str(cell["dataset"])),
            _text(value_name("method", str(cell["method"]))),
            _count(cell["n_train"]),
            _count(cell["seed"]),
        ]
        for cell in cells.to_dict("records")
    ]
    return Section(
        "Missing runs", tables=[Table("Cells without a record", ["Data set", "Method", "n", "Seed"], rows)]
    )


def _paired(frame: pd.DataFrame, names: Sequence[str] = tables.HEADLINE) -> list[list[PairedRow]]:
    """The paired rows of one data set, a list for each pair of methods and quantity that has any."""
    found = [
        tables.paired_rows(frame, quantities=[name], method=method, baseline=baseline)
        for method, baseline in tables.method_pairs(frame)
        for name in names
    ]
    return [rows for rows in found if rows]


def _verdicts(frame: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(Label, sentence) for each headline quantity and given pair of methods of one data set."""
    found = [rows for rows in _paired(frame) if (rows[0].method, rows[0].baseline) in pairs]
    return [(describe(rows[0].quantity).label, verdicts.verdict(rows)) for rows in found]


def _quantity_pictures(frame: pd.DataFrame, names: Sequence[str], prefix: str) -> list[Picture]:
    """Per quantity its curve, then its paired differences for every pair of methods."""
    drawn = []
    for name in names:
        if tables.is_recorded(frame, name):
            drawn.append(curve_picture(frame, name, prefix=prefix))
        for method, baseline in tables.method_pairs(frame):
            if len(tables.paired_draws(frame, quantity=name, method=method, baseline=baseline)):
                drawn.append(paired_picture(frame, name, method=method, baseline=baseline, prefix=prefix))
    return drawn


def listed_summaries(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    """Means of quantities with their intervals, one line per size and method.

    Args:
        frame: Records of one data set.
        names: Columns; those that are not recorded are left out.
    """
    names = [name for name in names if tables.is_recorded(frame, name)]
    rows = {
        (row.n_train, row.method, row.quantity): row for row in tables.summary_rows(frame, quantities=names)
    }
    lines = []
    for n_train, method in sorted({key[:2] for key in rows}):
        found = [rows.get((n_train, method, name)) for name in names]
        seeds = max(row.seeds for row in found if row)
        lines.append(
            [_text(value_name("method", method)), _count(n_train), *map(_estimate, found), _count(seeds)]
        )
    kinds = {row.interval for row in rows.values()}
    sources = [
        text
        for kind, text in (("seeds", "over seeds"), ("images", "over test images, for one seed"))
        if kind in kinds
    ]
    caption = f"Means [95 % intervals {'; '.join(sources)}]" if sources else "Values of single seeds"
    return Table(caption, ["Method", "n", *(describe(name).heading for name in names), "Seeds"], lines)


def listed_differences(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    """Differences of quantities between feature methods and the lazy baseline, draw by draw.

    Args:
        frame: Records of one data set.
        names: Columns.

    Returns:
        One line per quantity, feature method and size; none where no draw has both sides.
    """
    pairs = tables.method_pairs(frame)
    lines = []
    for row in (row for rows in _paired(frame, names) for row in rows):
        mean = Cell(interval_text(row.quantity, row.mean, row.low, row.high, difference=True), row.mean)
        counts = [_count(value) for value in (row.method_lower, row.baseline_lower, row.draws)]
        which = [_text(value_name("method", row.method))] if len(pairs) > 1 else []
        chance = Cell(number_text(row.sign_p), row.sign_p)
        lines.append(
            [_text(describe(row.quantity).heading), *which, _count(row.n_train), mean, *counts, chance]
        )
    named = ["Feature method"] if len(pairs) > 1 else []
    headers = ["Quantity", *named, "n", "Difference", "Feature lower", "Lazy lower", "Draws", "Sign test p"]
    sides = [value_name("method", name) for name in pairs[0]] if pairs else ["feature", "lazy"]
    minuend = "each feature method" if len(pairs) > 1 else sides[0]
    caption = f"Paired differences {minuend} − {sides[1]} on the same draw"
    return Table(f"{caption}: mean [95 % Student interval over draws]", headers, lines)


def listed_sparsity(frame: pd.DataFrame) -> Table:
    """How many neurons there are before and after training, by every recorded measure.

    Args:
        frame: Records of one data set.

    Returns:
        One line per size and method; none where no measure is recorded.
    """
    names = [name for name in tables.SPARSITY if tables.is_recorded(frame, name)]
    initial = {
        row[1:4]: row for row in tables.summary_rows(frame, quantities=[f"init_{name}" for name in names])
    }
    final = {row[1:4]: row for row in tables.summary_rows(frame, quantities=names)}
    lines = []
    for n_train, method in sorted({key[:2] for key in final}):
        cells = []
        for name in names:
            before, after = initial.get((n_train, method, f"init_{name}")), final.get((n_train, method, name))
            start = f"{_mean(name, before.mean).text} → " if before else ""
            cells.append(Cell(start + _estimate(after).text, _estimate(after).value))
        lines.append([_text(value_name("method", method)), _count(n_train), *cells])
    headers = ["Method", "n", *(describe(name).heading for name in names)]
    return Table("At initialisation → after training, means over seeds [95 % interval]", headers, lines)


def _estimate(row: SummaryRow | None) -> Cell:
    if row is None:
        return Cell("–", np.nan)
    return Cell(interval_text(row.quantity, row.mean, row.low, row.high), row.mean)


def _mean(name: str, value: float) -> Cell:
    return Cell(interval_text(name, value, np.nan, np.nan), value)


def _count(value: int) -> Cell:
    return Cell(str(value), value)


def _text(value: str) -> Cell:
    return Cell(value, value)
