"""The page of a folder of forces during training: one HTML page and its figures."""

from pathlib import Path

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.document import Cell, Section, Table
from diffstab.report.l2 import forces_pictures as pictures
from diffstab.report.numbers import number_text
from diffstab.report.provenance import cautions, provenance
from diffstab.report.statistics.forces import moving_runs
from diffstab.report.swept import swept_options
from diffstab.report.writing import read_config, refuse_others, write_page
from diffstab.results import read_records

CANCELLED = 0.05
"""Imbalance up to which two forces are said to cancel."""
_SMALL = 1e-3
_DEFINITIONS = (
    "The loss is a function of the representations Z of the layers alone. Its gradient at a hidden layer has two "
    "parts: attraction, from the layer's own term, and repulsion, from the term of the next layer. Imbalance is "
    "|attraction + repulsion| / (|attraction| + |repulsion|). Numbers are those at the start → at the end of training."
)
_TRAINING = (
    "In training the forces are those at the representations that the weights make. Weights hold a part besides that "
    "makes no representation and decays by the penalty alone."
)
_KINKS = (
    "Where points lie on a kink of relu the gradient of back-propagation need not vanish at a minimum: slopes between "
    "0 and 1 are chosen there that cancel the forces best. Repulsion includes what a layer passes on from the layers "
    "above when the row space of its activations moves."
)


def write_forces_report(folder: str | Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.png|pdf`` of a folder of forces during training.

    The page needs no other file and no network. It takes the place of an old report when it is complete.

    Args:
        folder: Results folder as written by `diffstab forces`.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder has no readable records or arrays, or cannot be written to.
    """
    folder = Path(folder)
    frame = _records(folder)
    source, config = read_config(folder / "config.yaml")
    wanted = config.get("seeds")
    absent = len(set(wanted) - set(frame["seed"])) if isinstance(wanted, list) else 0
    parts = [findings(frame), layers_section(folder, frame), course(frame), numbers(frame)]
    parts.append(provenance(frame, config=source))
    notes = [*cautions(frame, records=len(frame), absent=0), *force_cautions(frame, absent=absent)]
    return write_page(folder, _line(frame), parts=parts, notes=notes)


def _records(folder: Path) -> pd.DataFrame:
    records = read_records(folder)
    refuse_others(records, folder, command="forces", columns=("hidden_widths", "separation_1", "seed"))
    if swept := swept_options(records, folder):
        message = (
            f"The nets of {folder} differ in {', '.join(swept)}; a page of forces is of one kind of net."
        )
        raise ResultsError(f"{message} Run `diffstab forces` for each, or read the records with pandas.")
    return records.sort_values("seed", ignore_index=True)


def depth_of(frame: pd.DataFrame) -> int:
    """Return L, the number of layers of the nets of the records."""
    return len(frame["hidden_widths"].iloc[0]) + 1


def findings(frame: pd.DataFrame) -> Section:
    """Whether forces cancel, classes part and neurons line up, with the numbers."""
    hidden = range(1, depth_of(frame))
    found = [("Do the forces cancel at the end?", _cancellation(frame))]
    if np.isfinite(frame["separation_1"]).all():
        shares = [f"layer {layer}: {_course(frame, f'separation_{layer}', percent=True)}" for layer in hidden]
        parted = [_rises(frame, f"separation_{layer}") for layer in hidden]
        found.append(
            ("Do classes part?", f"{_how_many(parted)} Scatter between classes, {'; '.join(shares)}.")
        )
    rays = [
        f"layer {layer}: {_course(frame, f'aligned_share_{layer}', percent=True)}, rays "
        f"{_course(frame, f'groups_{layer}')}"
        for layer in hidden
    ]
    lined = [_rises(frame, f"aligned_share_{layer}") for layer in hidden]
    angle = number_text(float(frame["aligned_deg"].iloc[0]))
    text = f"{_how_many(lined)} Live neurons within {angle}° of another, {'; '.join(rays)}."
    found.append(("Do neurons line up on rays?", text))
    return Section("What the numbers say", [_DEFINITIONS], verdicts=found)


def _cancellation(frame: pd.DataFrame) -> str:
    layers = range(1, depth_of(frame) + 1)
    worst = max(float(frame[f"imbalance_{layer}"].max()) for layer in layers)
    opening = "Yes" if worst <= CANCELLED else "Not in every layer and run"
    if moving := moving_runs(frame):
        opening = f"Undecided: {moving} of {len(frame)} runs had not come to a minimum"
    parts = [f"layer {layer}: {_course(frame, f'imbalance_{layer}')}" for layer in layers]
    return f"{opening} (imbalance at most {CANCELLED:g} counts as cancelled). Imbalance, {'; '.join(parts)}."


def _rises(frame: pd.DataFrame, name: str) -> bool:
    """Whether a trace ends above its start in every run."""
    return all(values[-1] > values[0] for values in frame[f"trace_{name}"])


def _how_many(flags: list[bool]) -> str:
    if all(flags):
        return "Yes, in every hidden layer."
    return f"In {sum(flags)} of {len(flags)} hidden layers." if any(flags) else "No."


def _course(frame: pd.DataFrame, name: str, *, percent: bool = False) -> str:
    """The mean over runs at the start and at the end, with the range at the end over several runs."""
    factor, unit = (100, " %") if percent else (1, "")
    ends = np.array([(values[0], values[-1]) for values in frame[f"trace_{name}"]], dtype=np.float64) * factor
    first, last = ends.mean(axis=0)
    spread = ""
    if len(ends) > 1:
        spread = (
            f" ({number_text(float(ends[:, 1].min()))} to {number_text(float(ends[:, 1].max()))} over runs)"
        )
    return f"{number_text(float(first))}{unit} → {number_text(float(last))}{unit}{spread}"


def layers_section(folder: Path, frame: pd.DataFrame) -> Section:
    """Data points and neurons of the hidden layers of the first seed, with the forces on them."""
    row = frame.iloc[0]
    states, labels = pictures.read_snapshots(folder / "snapshots" / f"{row['key']}.npz")
    drawn = []
    for layer, kept in states.items():
        alt = (
            f"Layer {layer} of the net of seed {row['seed']}, data points and neurons with their forces at steps "
            f"{', '.join(str(state.step) for state in kept)}. At the end the forces leave "
            f"{number_text(100 * row[f'imbalance_{layer}'])} % of their size, and the live neurons lie on "
            f"{number_text(row[f'groups_{layer}'])} rays."
        )
        drawn.append(pictures.layer_picture(layer, kept, labels=labels, alt=alt))
    return Section(f"Layers and forces, seed {row['seed']}", [_TRAINING], pictures=drawn)


def course(frame: pd.DataFrame) -> Section:
    """The curves of training."""
    layers = depth_of(frame)
    drawn = [
        pictures.sizes_picture(frame, layers=layers),
        pictures.cancellation_picture(frame, layers=layers),
        pictures.structure_picture(frame, layers=layers),
    ]
    return Section("During training", [_KINKS], pictures=drawn)


def numbers(frame: pd.DataFrame) -> Section:
    """The numbers at the end of training: one line per layer and seed."""
    columns = {
        "attraction": "|attraction|",
        "repulsion": "|repulsion|",
        "imbalance": "Imbalance",
        "fixed_imbalance": "… slope 0 at kinks",
        "separation": "Between classes",
        "rank": "Rank",
        "groups": "Rays",
        "aligned_share": "Aligned",
        "dead_share": "Dead",
    }
    lines = []
    for _, row in frame.iterrows():
        for layer in range(1, depth_of(frame) + 1):
            values = [float(row.get(f"{name}_{layer}", np.nan)) for name in columns]
            places = [Cell(str(row["seed"]), float(row["seed"])), Cell(str(layer), float(layer))]
            lines.append([*places, *(Cell(number_text(value), value) for value in values)])
    facts = []
    for _, row in frame.iterrows():
        text = (
            f"loss {number_text(row['loss'])}, squared norm {number_text(row['squared_norm'])}, stationarity "
            f"{number_text(row['stationarity'])}, {int(row['kinks'])} pairs of neuron and point on a kink, "
            f"{int(row['step'])} steps, {number_text(row['wall_seconds'])} s; part of the norm that makes no "
            f"representation {number_text(row['residual_share'])}"
        )
        facts.append((f"Seed {row['seed']}", text))
    facts.append(("Pseudo-inverses", _inverse_text(frame)))
    table = Table("At the end of training", ["Seed", "Layer", *columns.values()], lines)
    return Section("Numbers", tables=[table], facts=facts)


def _inverse_text(frame: pd.DataFrame) -> str:
    tolerance, ridge = (float(frame[name].iloc[0]) for name in ("tolerance", "tikhonov"))
    text = f"singular values below {tolerance:g} of the largest count as zero"
    return f"{text}; Tikhonov term {ridge:g}" if ridge > 0 else text


def force_cautions(frame: pd.DataFrame, *, absent: int) -> list[str]:
    """What to know before trusting the forces."""
    found = []
    if absent:
        found.append(f"Seeds without a record: {absent}. The same command makes them.")
    if unfinished := moving_runs(frame):
        found.append(f"Nets that did not reach a stationary point: {unfinished}.")
    if (frame["residual_share"] > _SMALL).any():
        share = number_text(100 * frame["residual_share"].max())
        found.append(f"Up to {share} % of a net's squared norm makes no representation at the end.")
    if (frame["moved_share"] > _SMALL).any():
        share = number_text(100 * frame["moved_share"].max())
        found.append(
            f"The tolerance of the pseudo-inverses moves a representation by up to {share} % at the end."
        )
    if (frame["tikhonov"] > 0).any():
        found.append("Forces have a Tikhonov term, so that they need not cancel at a stationary point.")
    return found


def _line(frame: pd.DataFrame) -> str:
    widths = " – ".join(str(int(width)) for width in frame["hidden_widths"].iloc[0])
    count = len(frame)
    runs = f"{count} {'run' if count == 1 else 'runs'}"
    return f"{frame['dataset'].iloc[0]} · n = {frame['n_train'].iloc[0]} · hidden widths {widths} · {runs}"
