"""Claims about the reformulations of the L2-regularised loss: three forms with one minimum, attraction, repulsion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from diffstab.report.intervals import mean_interval
from diffstab.report.l2.forces import CANCELLED, moving_runs
from diffstab.report.l2.plateau_verdicts import AGREED, excess_of_optimisers, percent
from diffstab.report.numbers import number_text
from diffstab.report.paper.claims_evidence import JACOT, NOT_TESTED, UNDECIDED, Claim, Evidence, Finding
from diffstab.report.paper.claims_plateau import FORMS, plateaus
from diffstab.report.paper.claims_rules import above, always, draws_text, together

FORCES = "forces_mnist"
FORMS_OF_THE_LOSS = {"weights", "representations", "covariances"}


def forms_agree(evidence: Evidence) -> Finding:
    """Whether weights, representations and covariances reach one minimum on every draw."""
    heights = [excess_of_optimisers(one.part) for one in plateaus(FORMS, evidence)]
    table = pd.concat(heights, ignore_index=True)
    if not all(
        set(one["optimiser"]) >= FORMS_OF_THE_LOSS for height in heights for _, one in height.groupby("seed")
    ):
        return Finding(NOT_TESTED, predicted="0", detail="Not all three forms are recorded on every draw.")
    worst = float(table["excess"].max())
    groups = table.groupby("optimiser")["excess"]
    texts = [f"{name} at most {percent(float(part.max()))}" for name, part in groups]
    return Finding(
        always([worst <= AGREED]),
        f"at most {percent(worst)}",
        worst,
        "0",
        draws_text([table["seed"].nunique()]),
        f"above the smallest loss of a draw: {'; '.join(texts)}",
    )


def forces_cancel(evidence: Evidence) -> Finding:
    """Whether attraction and repulsion cancel at the end of training in every layer and run."""
    frame = evidence.records(FORCES)
    names = sorted(str(name) for name in frame if str(name).startswith("imbalance_"))
    if not names or not np.isfinite(frame[names].to_numpy(dtype=np.float64)).all():
        return Finding(NOT_TESTED, predicted="0", detail="The records do not hold the forces of every layer.")
    worst = float(frame[names].to_numpy(dtype=np.float64).max())
    texts = [f"layer {name[-1]}: {number_text(float(frame[name].mean()))}" for name in names]
    flat = [f"fixed_{name}" for name in names if f"fixed_{name}" in frame]
    if flat:
        largest = float(frame[flat].to_numpy(dtype=np.float64).max())
        texts.append(f"with slope 0 at kinks up to {number_text(largest)}")
    return Finding(
        UNDECIDED if moving_runs(frame) else always([worst <= CANCELLED]),
        f"at most {number_text(worst)}",
        worst,
        "0",
        draws_text([len(frame)]),
        f"|attraction + repulsion| / (|attraction| + |repulsion|), mean over draws: {'; '.join(texts)}",
    )


def rises(name: str, evidence: Evidence) -> Finding:
    """Whether a share rises during training in every hidden layer."""
    frame = evidence.records(FORCES)
    layers = sorted(str(name).removeprefix("rank_") for name in frame if str(name).startswith("rank_"))
    ends = {
        layer: np.array([(trace[0], trace[-1]) for trace in frame[f"trace_{name}_{layer}"]], dtype=np.float64)
        for layer in layers
    }
    if not ends or not all(np.isfinite(pair).all() for pair in ends.values()):
        return Finding(NOT_TESTED, predicted="> 0", detail="The records do not hold it.")
    gains = {layer: mean_interval(100 * (pair[:, 1] - pair[:, 0])) for layer, pair in ends.items()}
    least = min(gains, key=lambda layer: gains[layer].mean)
    mean, low, high, _ = gains[least]
    texts = [
        f"layer {layer}: {number_text(100 * pair[:, 0].mean())} % → {number_text(100 * pair[:, 1].mean())} %"
        for layer, pair in ends.items()
    ]
    return Finding(
        together([above(one) for one in gains.values()]),
        f"{number_text(mean, signed=True)} points [{number_text(low)}, {number_text(high)}] (layer {least})",
        mean,
        "> 0",
        draws_text([len(frame)]),
        f"start → end of training, mean over draws; {'; '.join(texts)}",
    )


def _force_claims() -> list[Claim]:
    rule = (
        "Rise from the start to the end of training of the share of {}. Holds if the 95 % interval of its mean over "
        "draws lies above 0 in every hidden layer; does not if it lies below 0 in one; else undecided."
    )
    listed: list[tuple[str, str, str, str, Callable[[Evidence], Finding]]] = [
        ("forces-cancel", "Section 3.1",
         "At a minimum the attraction of a layer and the repulsion of the next one cancel.",
         "Imbalance |a + r| / (|a| + |r|) at the end of training, with the slopes at kinks of ReLU that cancel best "
         "and the rank of the layer above, which the published closed form leaves out. Holds if it is at most "
         f"{CANCELLED:g} in every layer and run; undecided where a net had not come to a minimum; does not otherwise.",
         forces_cancel),
        ("classes-part", "Figure 1", "Inputs of different classes are pushed away from each other.",
         rule.format("the scatter of representations that lies between classes"), partial(rises, "separation")),
        ("neurons-align", "Figure 1", "Neurons line up along rays from the origin.",
         rule.format("live neurons within 5° of another one"), partial(rises, "aligned_share")),
    ]  # fmt: skip
    return [
        Claim(identifier, JACOT, place, statement, rule, check, (FORCES,), "forces")
        for identifier, place, statement, rule, check in listed
    ]


FORM_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "three-forms",
        JACOT,
        "Propositions 1 and 3",
        "The loss as a function of weights, of representations and of covariances has one and the same infimum.",
        f"Best losses of the three forms on a draw, each minimised directly. Holds if all lie within {percent(AGREED)} "
        "of the smallest on every draw; does not otherwise.",
        forms_agree,
        (FORMS,),
        "optimisers",
    ),
    *_force_claims(),
)
"""Claims about the reformulations."""
