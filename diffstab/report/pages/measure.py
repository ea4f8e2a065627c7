"""Measurements of any models: what their page says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffstab import __version__
from diffstab.experiments.measure import image_tables
from diffstab.measuring.amounts import DIFFEOMORPHISM
from diffstab.measuring.comparison import compared, ranking
from diffstab.measuring.measurement import Comparison, deformation_text, interval_text, quantities
from diffstab.measuring.measurement import cautions as measured_cautions
from diffstab.measuring.rows import OUTPUT, Row
from diffstab.report.document import Table, TableCell
from diffstab.report.runs import Runs
from diffstab.report.words import capital, counted, listed, number_text
from diffstab.streams import SCHEME

_BY = ["deformation", "cutoff"]
_STATISTICS = {"mean": "means over images", "median": "medians over images"}


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """One row per model, deformation and layer, in the order of the layers."""
    # Models in the order of the configuration, deformations in that in which they were asked for.
    known = list(config.get("models", {}))
    order = {label: place for place, label in enumerate(known)}
    place = [order.get(str(label).removesuffix(" (untrained)"), len(order)) for label in records["model"]]
    sorted_by = [*_BY, "model", "layer_index"]
    is_field = records["deformation_kind"] == DIFFEOMORPHISM
    frame = records.assign(_place=place, _is_other=~is_field)
    frame = frame.sort_values(["_place", "model", "_is_other", "cutoff", "amount", *sorted_by], kind="stable")
    return frame.drop(columns=["_place", "_is_other"]).reset_index(drop=True)


def own_records(folder: Path, keys: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some records of a results folder."""
    from diffstab.results import read_records, stored_config

    records = read_records(folder)
    return prepare(records[records["key"].isin(keys)], stored_config(folder / "config.yaml"))


def comparison_of(folder: Path, frame: pd.DataFrame) -> Comparison | None:
    """Return the comparison of the models of some rows; None where fewer than two saw the same images."""
    tables = image_tables(folder)
    labels = [label for label in dict.fromkeys(frame["model"]) if label in tables]
    outputs = frame[frame["layer"] == OUTPUT]
    same = [
        label
        for label in labels
        if set(map(tuple, tables[label][_BY].to_numpy())) >= set(map(tuple, outputs[_BY].to_numpy()))
        and set(tables[label]["number"]) == set(tables[labels[0]]["number"])
    ]
    if len(same) < 2:
        return None
    first = frame.iloc[0]
    pairs = compared(
        {label: tables[label] for label in same}, seed=int(first["seed"]), statistic=first["statistic"]
    )
    return Comparison(pairs, ranking(outputs[outputs["model"].isin(same)], pairs))


def level(frame: pd.DataFrame) -> str:
    """The confidence of the intervals of records, of all of them where they differ."""
    found = {json.loads(str(config)).get("confidence", 0.95) for config in frame["config"]}
    return listed([f"{100 * one:g} %" for one in sorted(found)])


def title(runs: Runs) -> str:
    """Which models on which data."""
    models = list(dict.fromkeys(runs.frame["model"]))
    who = listed(models) if len(models) <= 3 else f"{len(models)} models"
    return f"Stability of {who} on {runs.frame['dataset'].iloc[0]}"


def varied(runs: Runs) -> str:
    """Models, deformations and layers, where there are several."""
    frame = runs.frame
    models = list(dict.fromkeys(frame["model"]))
    counts = {
        f"the model ({listed(models)})": len(models),
        f"the deformation ({len(frame[_BY].drop_duplicates())})": len(frame[_BY].drop_duplicates()),
        f"the layer ({frame['layer'].nunique()})": frame["layer"].nunique(),
    }
    several = [text for text, count in counts.items() if count > 1]
    what = capital(listed(several)) if several else "Nothing"
    return f"{what}; on {counted(int(frame['images'].max()), 'image')}."


def first_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the deformation that stands for all: of about 1 px, at the least cut-off."""
    fields = frame[frame["deformation_kind"] == DIFFEOMORPHISM]
    chosen = fields if len(fields) else frame
    distance = chosen["delta_px"].sub(1).abs().fillna(0)
    best = chosen.assign(_far=distance).sort_values(["cutoff", "_far"], kind="stable").iloc[0]
    found: pd.DataFrame = frame[(frame[_BY] == best[_BY]).all(axis=1)]
    return found


def answer(runs: Runs) -> str:
    """R of each output, with D, G and the accuracy; of several models, who is the more stable."""
    rows = first_rows(runs.frame)
    rows = rows[rows["layer"] == OUTPUT]
    first = rows.iloc[0]
    if len(rows) == 1:
        than = "less" if first["R"] < 1 else "more"
        text = (
            f"At {deformation_text(first)} the output of {first['model']} has R = {interval_text(first, 'R')}: it "
            f"reacts {than} to deformations than to noise of the same size (D = {interval_text(first, 'D')}, "
            f"G = {interval_text(first, 'G')})."
        )
        return f"{text} {_accuracy(first)}".strip()
    parts = [f"{row['model']} {interval_text(row, 'R')}" for row in rows.sort_values("R").to_dict("records")]
    return f"R of the outputs at {deformation_text(first)}, the most stable first: {'; '.join(parts)}. {_tied(runs)}"


def _tied(runs: Runs) -> str:
    found = comparison_of(runs.folders[0], first_rows(runs.frame))
    if found is None:
        return ""
    first = [str(model) for model in found.ranking.loc[found.ranking["rank"] == 1, "model"]]
    if len(first) > 1:
        return f"These images do not tell {listed(first)} apart."
    return f"{first[0]} is more stable than the others, on the same images and deformations."


def _accuracy(row: Row) -> str:
    if not np.isfinite(row["accuracy"]):
        return ""
    ends = f"[{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}]"
    return f"It classifies {100 * row['accuracy']:.1f} % {ends} of the images rightly."


def cautions(runs: Runs) -> Sequence[str]:
    """What to bear in mind."""
    return measured_cautions(runs.frame)


def outputs(runs: Runs) -> Iterator[Table]:
    """D, G and R of the outputs under every deformation, with the accuracy."""
    rows = runs.frame[runs.frame["layer"] == OUTPUT]
    yield _listing(
        "outputs", f"The outputs: value [{level(rows)} interval over images]", rows, ("model", "deformation")
    )


def layers(runs: Runs) -> Iterator[Table]:
    """D, G and R of every layer."""
    names = ("model", "deformation", "layer")
    if runs.frame["layer"].nunique() > 1:
        caption = f"All layers: value [{level(runs.frame)} interval over images]"
        yield _listing("layers", caption, runs.frame, names)


def _listing(name: str, caption: str, rows: pd.DataFrame, keys: Sequence[str]) -> Table:
    places = rows[_BY].drop_duplicates()
    told = {"deformation": len(places), "layer": 2, "model": rows["model"].nunique()}
    shown = [key for key in keys if told[key] > 1] or ["model"]
    caption += "" if len(places) > 1 else f", at {deformation_text(rows.iloc[0])}"
    headers = [{"model": "Model", "deformation": "Deformation", "layer": "Layer"}[key] for key in shown]
    names, with_accuracy = quantities(rows), "layer" not in keys
    lines = [
        [*(_key_cell(row, key) for key in shown), *_number_cells(row, names, with_accuracy=with_accuracy)]
        for row in rows.to_dict("records")
    ]
    last = ["Floor of D", *(["Accuracy"] if with_accuracy else [])]
    return Table(caption, [*headers, *names, *last], lines, name)


def _key_cell(row: Row, key: str) -> TableCell:
    if key == "layer":
        return TableCell(str(row["layer"]), f"{int(row['layer_index']):05d}")
    text = deformation_text(row) if key == "deformation" else str(row[key])
    return TableCell(text, text)


def _number_cells(row: Row, names: str, *, with_accuracy: bool) -> list[TableCell]:
    cells = [TableCell(interval_text(row, name), float(row[name])) for name in names]
    cells.append(_plain_cell(row.get("floor", np.nan)))
    if with_accuracy:
        text = f"{100 * row['accuracy']:.1f} %" if np.isfinite(row["accuracy"]) else "–"
        cells.append(TableCell(text, float(row["accuracy"])))
    return cells


def _plain_cell(value: float) -> TableCell:
    return TableCell(number_text(value), float(value))


def rankings(runs: Runs) -> Iterator[Table]:
    """The models by R, ties told."""
    found = comparison_of(runs.folders[0], runs.frame)
    if found is None:
        return
    lines = [
        [
            TableCell(str(row["rank"]), float(row["rank"])),
            TableCell(row["model"], row["model"]),
            TableCell(interval_text(row, "R"), float(row["R"])),
        ]
        for row in found.ranking.to_dict("records")
    ]
    yield _by_deformation(
        Table("The most stable first", ["Rank", "Model", "R"], lines, "ranking"), found.ranking
    )


def pairs(runs: Runs) -> Iterator[Table]:
    """Paired ratios and differences."""
    found = comparison_of(runs.folders[0], runs.frame)
    if found is None:
        return
    for what, sign in (("ratio", "a / b"), ("difference", "a − b")):
        lines = [_pair_cells(row, what) for row in found.pairs.to_dict("records")]
        headers = ["a", "b", *(f"{name}: {sign}" for name in "DGR")]
        caption = f"Two by two, {sign}, over the same resamples of the images [95 % interval]"
        yield _by_deformation(Table(caption, headers, lines, f"pairs-{what}"), found.pairs)


def _by_deformation(table: Table, rows: pd.DataFrame) -> Table:
    """The table with the deformation of each row before it; in its caption where there is but one."""
    texts = [deformation_text(row) for row in rows.to_dict("records")]
    if len(set(texts)) < 2:
        return table._replace(caption=f"{table.caption}, at {texts[0]}")
    lines = [[TableCell(text, text), *line] for text, line in zip(texts, table.rows, strict=True)]
    return table._replace(headers=["Deformation", *table.headers], rows=lines)


def _pair_cells(row: Row, what: str) -> list[TableCell]:
    numbers = [
        TableCell(interval_text(row, f"{name}_{what}"), float(row[f"{name}_{what}"])) for name in "DGR"
    ]
    return [*(TableCell(row[name], row[name]) for name in ("model_a", "model_b")), *numbers]


def comparison_says(runs: Runs) -> Sequence[str]:
    """How models are compared."""
    return [
        "All models saw the same images, deformations and noise, so that differences are known better than each number "
        "alone. The rank of a model is one more than the number of models that are more stable beyond that interval."
    ]


def output_says(runs: Runs) -> Sequence[str]:
    """What the floor is."""
    return [
        "The floor of D is what D reads when nothing is moved and the image is only blurred, as the interpolation of "
        "the deformation blurs it: D below twice the floor says little about deformations."
    ]


def plane_says(runs: Runs) -> Sequence[str]:
    """What the strip is."""
    return [
        "In the grey strip a typical deformation moves the image by half a pixel or more and does not fold it: from "
        "δ = 1/2 px to δ = n / (π c), for images of n pixels a side."
    ]


def layers_say(runs: Runs) -> Sequence[str]:
    """Which layers are listed, and what E is."""
    order = "Layers in the order in which they run; a name with :input is what goes into that module."
    moving = (
        "E is the part of D that is no mere moving: the mean of |f(τx) − τf(x)|² over the denominator of D, the map of "
        "a layer moved by the same field. It is 0 for a map that only moves with its image."
    )
    return [order, moving] if "E" in quantities(runs.frame) else [order]


def images_say(runs: Runs) -> Sequence[str]:
    """Where the tables of the images are."""
    if not any((runs.folders[0] / "tables").glob("*.csv")):
        return []
    return [
        "D and G are means over the images of what each one adds; the pictures show the images that add most and least "
        "to D. Every image, with its file, label and prediction, is in the tables of the folder “tables” beside this "
        "page's folder, one for each model, as CSV and as Parquet."
    ]


def classes(runs: Runs) -> Iterator[Table]:
    """Means of D_i and G_i by class, of images with labels."""
    rows, found = first_rows(runs.frame), image_tables(runs.folders[0])
    lines = []
    for label in [model for model in dict.fromkeys(rows["model"]) if model in found]:
        frame, one = found[label], rows[rows["model"] == label]
        chosen = frame[
            (frame["deformation"] == one["deformation"].iloc[0]) & (frame["cutoff"] == one["cutoff"].iloc[0])
        ]
        for name, part in chosen[chosen["label"] >= 0].groupby("class", sort=True):
            right = float((part["label"] == part["prediction"]).mean())
            means = [float(part["D_i"].mean()), float(part["G_i"].mean())]
            cells = [_plain_cell(value) for value in (*means, means[0] / means[1] if means[1] else np.nan)]
            share = TableCell(f"{100 * right:.0f} %", right)
            lines.append(
                [TableCell(label, label), TableCell(str(name), str(name)), *cells, share, _count(len(part))]
            )
    if lines:
        headers = ["Model", "Class", "D", "G", "R", "Accuracy", "Images"]
        yield Table(f"By class, at {deformation_text(rows.iloc[0])}", headers, lines, "classes")


def _count(value: int) -> TableCell:
    return TableCell(str(value), float(value))


def models(runs: Runs) -> Iterator[Table]:
    """What was measured."""
    lines = []
    for label, part in runs.frame.groupby("model", sort=False):
        row = part.iloc[0]
        texts = [str(label), str(row["source"]), str(row["weights_hash"]), str(row["protocol"] or "none")]
        lines.append([*(TableCell(text, text) for text in texts), _count(int(row["images"]))])
    headers = ["Model", "Loaded from", "Hash of the weights", "Protocol", "Images"]
    yield Table("The models", headers, lines, "models")


def methods(runs: Runs) -> Sequence[str]:
    """A sentence for a paper's methods section."""
    row = runs.frame.iloc[0].to_dict()
    named = f"protocol {row['protocol']}, " if row["protocol"] else ""
    fields = runs.frame[runs.frame["deformation_kind"] == DIFFEOMORPHISM]
    deltas = [re.sub(r"(px|%)", r" \1", text) for text in dict.fromkeys(fields["deformation"])]
    cutoffs = sorted({int(c) for c in fields["cutoff"]})
    deformed = (
        f"maximum-entropy diffeomorphisms of typical displacement {listed(deltas)} and cut-off {listed(cutoffs)}"
        if deltas
        else listed(list(dict.fromkeys(runs.frame["deformation"])))
    )
    noise = {
        "matched": "noise of the norm of each image's own deformation",
        "batch": "noise of the mean norm of the deformations",
    }.get(str(row["noise"]), f"noise of norm {row['noise']}")
    loaded = list(runs.frame["notes"].dropna()) if "notes" in runs.frame else []
    said = [
        "For a methods section: "
        f"“Stability was measured with diffstab {__version__} ({named}streams {SCHEME}): D, G and R as defined by "
        f"Petrini et al. (NeurIPS 2021), on {int(row['images'])} images of {row['dataset']} "
        f"({row['image_height']} × {row['image_width']} pixels, seed {row['seed']}), under {deformed}, with {noise}, "
        f"{counted(int(row['fields_per_image']), 'draw')} of each per image, as {_STATISTICS[str(row['statistic'])]}; "
        f"brackets are {level(runs.frame)} bootstrap intervals over images.”",
        " ".join(str(note) for note in dict.fromkeys(loaded) if note),
    ]
    return [text for text in said if text]
