r"""Pruning: dead neurons go, aligned neurons become one, and the function on the training points stays.

For positively homogeneous s, neurons of in-weights u_j = c_j u, c_j > 0, out-weights V_j, make sum_j s(u_j . x) V_j =
s(u . x) sum_j c_j V_j at every x: one neuron does. Its norm |u|^2 + |V|^2 is least where |u| = |V|, and then
2 |sum_j c_j V_j| |u| <= sum_j 2 |u_j| |V_j| <= sum_j |u_j|^2 + |V_j|^2: merging never raises the norm.

Source: Jacot et al. 2022 (arXiv 2205.15809), section 3.1 and Proposition 6; the merge is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.network import check_weights, forward, hidden_widths, squared_norm, widen
from diffstab.l2.problem import L2Problem

_SWEEPS = 200


class Pruned(NamedTuple):
    """A net without dead and aligned neurons.

    Attributes:
        weights: W_1 ... W_L, balanced: in- and out-weights of every hidden neuron have the same norm.
        widths: n_1 ... n_{L-1}; a layer whose neurons are all dead keeps one, of zero weights.
        groups: Per hidden layer, the former neurons of each new one, heaviest group's leader first; dead neurons
            are in none.
        max_change: Largest change of an output on the training inputs.
        norm_before: sum |W|^2 of the given net.
        norm_after: sum |W|^2 of the pruned net, never larger.
    """

    weights: list[Tensor]
    widths: tuple[int, ...]
    groups: list[list[list[int]]]
    max_change: float
    norm_before: float
    norm_after: float


def prune(
    problem: L2Problem, weights: Sequence[Tensor], *, angle_deg: float = 1.0, dead: float = 1e-6
) -> Pruned:
    r"""Return the net without dead neurons in which every group of aligned neurons has become one.

    Dead: |s(z_j)| |V_j|, over the training points, is at most `dead` times the largest of the layer. A neuron off
    at all training points goes, so the function at other points may change by it. Aligned: in-weights, bias
    included, within an angle of the leader of the group; the heaviest free neuron, by |u_j| |V_j|, leads the
    next group. In-weights rather than representations are compared because then exactly aligned neurons act as
    one at every input, not only on the training points; at a stationary point the two are the same, since
    in-weights lie in the row space of the data. The merged direction is the mean weighted by |u_j| |V_j|. With a
    linear activation opposite neurons are aligned too.

    Layers are taken from the first to the last, so that neurons above are compared on the merged ones below.

    Args:
        problem: The problem, of a positively homogeneous activation.
        weights: W_1 ... W_L of one net.
        angle_deg: Largest angle to the leader, in [1e-5, 90) degrees; the cosine does not resolve smaller ones.
        dead: In [0, 1).

    Raises:
        ArgumentError: If the activation is not homogeneous, the weights do not fit or are several nets, or a value
            is out of range.
    """
    _check(problem, weights, angle_deg=angle_deg, dead=dead)
    kept, alive = _without_dead(problem, weights, dead=dead)
    groups = []
    signed = problem.activation != "linear"
    for layer in range(problem.depth - 1):
        incoming, outgoing = kept[layer], kept[layer + 1][:, : len(kept[layer])]
        found = _aligned(incoming, outgoing, angle_deg=angle_deg, signed=signed)
        merged = [_merge(incoming[group], outgoing[:, group], signed=signed) for group in found]
        visible = [
            not _cancels(pair, incoming[group], outgoing[:, group], dead=dead)
            for group, pair in zip(found, merged, strict=True)
        ]
        found, merged = list(compress(found, visible)), list(compress(merged, visible))
        kept[layer] = torch.stack([row for row, _ in merged]) if merged else incoming[:0]
        columns = [column[:, None] for _, column in merged]
        kept[layer + 1] = torch.cat([*columns, kept[layer + 1][:, len(incoming) :]], dim=1)
        groups.append([alive[layer][group].tolist() for group in found])
    kept = balance(problem, widen(problem, kept, [max(1, len(weight)) for weight in kept[:-1]]))
    change = float((forward(problem, kept)[-1] - forward(problem, weights)[-1]).abs().max())
    before, after = float(squared_norm(weights)), float(squared_norm(kept))
    return Pruned(kept, hidden_widths(kept), groups, change, before, after)


def groups_of(
    problem: L2Problem, weights: Sequence[Tensor], *, angle_deg: float = 1.0, dead: float = 1e-6
) -> tuple[int, ...]:
    """Return the number of groups of aligned neurons in each hidden layer, as `prune` finds them."""
    found = prune(problem, weights, angle_deg=angle_deg, dead=dead)
    return tuple(len(groups) for groups in found.groups)


def shrink(problem: L2Problem, weights: Sequence[Tensor], hidden: int | Sequence[int]) -> list[Tensor]:
    r"""Return a net no wider than asked, its most alike neurons merged: a start for training.

    After `prune`, layer by layer, the pair of least m_i m_j / (m_i + m_j) (1 - cos angle_ij) is merged as in `prune`,
    again and again, with m_j = |u_j| |V_j| and the angle that of the in-weights: the increase of the spread of the
    neurons about their groups, as in Ward's clustering. The norm never grows; the function changes once neurons that
    are not aligned merge.

    Args:
        problem: The problem, of a positively homogeneous activation.
        weights: W_1 ... W_L of one net.
        hidden: Largest width of all hidden layers, or of each.

    Raises:
        ArgumentError: As `prune`, or if the widths do not fit the depth.
    """
    widths = problem.widths(hidden if isinstance(hidden, int) else tuple(hidden))[1:-1]
    kept = prune(problem, weights).weights
    for layer, width in enumerate(widths):
        count = len(kept[layer])
        rows, columns = _merge_closest(
            kept[layer], kept[layer + 1][:, :count], width, signed=problem.activation != "linear"
        )
        kept[layer], kept[layer + 1] = rows, torch.cat([columns, kept[layer + 1][:, count:]], dim=1)
    return balance(problem, kept)


def balance(problem: L2Problem, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the weights of the same function, of least norm under scaling of neurons, of a homogeneous problem.

    Each hidden neuron is scaled so that its in-weights, bias included, and out-weights have one norm; as this
    changes the layers beside it, layers are swept until the norm stays. A neuron with a zero side is set to zero.

    Raises:
        ArgumentError: If the activation is not homogeneous, or the weights do not fit or are several nets.
    """
    _check(problem, weights)
    scaled = [weight.detach().clone() for weight in weights]
    norm = float(squared_norm(scaled))
    for _ in range(_SWEEPS):
        for lower, upper in pairwise(scaled):
            inner, outer = lower.norm(dim=1), upper[:, : len(lower)].norm(dim=0)
            both = (inner > 0) & (outer > 0)
            ratio = torch.where(both, (outer / torch.where(both, inner, 1)).sqrt(), 0)
            lower.mul_(ratio[:, None])
            upper[:, : len(lower)].mul_(torch.where(both, 1 / torch.where(both, ratio, 1), 0))
        last, norm = norm, float(squared_norm(scaled))
        if last - norm <= torch.finfo(scaled[0].dtype).eps * norm:
            break
    return scaled


def _check(
    problem: L2Problem, weights: Sequence[Tensor], *, angle_deg: float = 1.0, dead: float = 0.0
) -> None:
    if not problem.is_homogeneous:
        raise ArgumentError("activation", "be relu or linear to scale neurons", repr(problem.activation))
    check_weights(problem, weights)
    if weights[0].ndim != 2:
        raise ArgumentError("weights", "be those of one net", f"leading shape {tuple(weights[0].shape[:-2])}")
    for index, weight in enumerate(weights):
        if not weight.isfinite().all():
            raise ArgumentError(f"weights[{index}]", "be finite", "NaN or infinite entries")
    if not 1e-5 <= angle_deg < 90:
        raise ArgumentError("angle_deg", "lie in [1e-5, 90)", angle_deg)
    if not 0 <= dead < 1:
        raise ArgumentError("dead", "lie in [0, 1)", dead)


def _without_dead(
    problem: L2Problem, weights: Sequence[Tensor], *, dead: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights without dead neurons, and the former indices of the others in each hidden layer.

    From the last layer to the first, so that a neuron that reaches only dead ones goes too.
    """
    kept, alive = [weight.detach().clone() for weight in weights], []
    activities = [problem.activate(z).norm(dim=1) for z in forward(problem, kept)[:-1]]
    for layer in reversed(range(problem.depth - 1)):
        count = len(kept[layer])
        effect = activities[layer] * kept[layer + 1][:, :count].norm(dim=0)
        index = (effect > dead * effect.max()).nonzero()[:, 0]
        bias = torch.arange(count, kept[layer + 1].shape[1], device=index.device)
        kept[layer], kept[layer + 1] = kept[layer][index], kept[layer + 1][:, torch.cat([index, bias])]
        alive.append(index)
    return kept, alive[::-1]


def _aligned(incoming: Tensor, outgoing: Tensor, *, angle_deg: float, signed: bool) -> list[Tensor]:
    """Return the neurons of each group of aligned ones, its leader first."""
    size = incoming.double().norm(dim=1)
    unit = incoming.double() / size[:, None]
    cosines = unit @ unit.mT
    near = (cosines if signed else cosines.abs()) >= math.cos(math.radians(angle_deg))
    near.fill_diagonal_(False)
    free, groups = torch.ones_like(size, dtype=torch.bool), []
    for leader in (size * outgoing.norm(dim=0)).argsort(descending=True, stable=True):
        if free[leader]:
            groups.append(torch.cat([leader[None], (near[leader] & free).nonzero()[:, 0]]))
            free[groups[-1]] = False
    return groups


def _merge(incoming: Tensor, outgoing: Tensor, *, signed: bool) -> tuple[Tensor, Tensor]:
    """Return in-weights (n_{l-1},) and out-weights (n_{l+1},) of one neuron for a group, the leader first.

    Where the sign matters, a neuron against the others adds nothing.
    """
    if len(incoming) == 1:
        return incoming[0], outgoing[:, 0]
    against = incoming @ incoming[0] < 0
    mean = (outgoing.norm(dim=0) * torch.where(against, 0 if signed else -1, 1)) @ incoming
    direction = mean / mean.norm().clamp_min(torch.finfo(mean.dtype).tiny)
    scale = incoming @ direction
    return direction, outgoing @ (scale.clamp_min(0) if signed else scale)


def _merge_closest(incoming: Tensor, outgoing: Tensor, width: int, *, signed: bool) -> tuple[Tensor, Tensor]:
    """Return in- and out-weights after merging the closest pairs until no more than `width` neurons are left."""
    rows, columns = incoming.clone(), outgoing.clone()
    left = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    harm = torch.stack([_harm(rows, columns, index, signed=signed) for index in range(len(rows))])
    while int(left.sum()) > width:
        pair = list(divmod(int(harm.argmin()), len(rows)))
        mass = rows[pair].norm(dim=1) * columns[:, pair].norm(dim=0)
        first, second = pair if mass[0] >= mass[1] else pair[::-1]
        rows[first], columns[:, first] = _merge(
            rows[[first, second]], columns[:, [first, second]], signed=signed
        )
        left[second] = False
        harm[first] = harm[:, first] = _harm(rows, columns, first, signed=signed)
        harm[~left] = harm[:, ~left] = math.inf
    return rows[left], columns[:, left]


def _harm(rows: Tensor, columns: Tensor, index: int, *, signed: bool) -> Tensor:
    """Return what merging neuron `index` with each other one costs, shape (n,); infinite with itself."""
    size = rows.norm(dim=1)
    mass = (size * columns.norm(dim=0)).clamp_min(torch.finfo(rows.dtype).tiny)
    cosines = (rows @ rows[index]) / (size * size[index]).clamp_min(torch.finfo(rows.dtype).tiny)
    spread = 1 - (cosines if signed else cosines.abs())
    harm: Tensor = spread / (1 / mass + 1 / mass[index])
    harm[index] = math.inf
    return harm


def _cancels(merged: tuple[Tensor, Tensor], incoming: Tensor, outgoing: Tensor, *, dead: float) -> bool:
    """Return whether the out-weights of a group add up to nothing."""
    direction, total = merged
    masses = incoming.norm(dim=1) * outgoing.norm(dim=0)
    rounding = 8 * len(incoming) * torch.finfo(incoming.dtype).eps
    return bool(total.norm() * direction.norm() <= max(dead, rounding) * masses.sum())
