"""The loss of representations by plain inverses, and its derivative along the row space constraints by differences."""

import torch

from diffstab.l2.representations import project, representation_loss


def extended(problem, z):
    rows = torch.relu(z) if problem.activation == "relu" else z
    if problem.bias == 0:
        return rows
    return torch.cat([rows, torch.full_like(rows[:1], problem.bias)])


def loss_by_inverses(problem, representations):
    """C(Z_L) + lambda sum_l Tr[Z_l^T Z_l (K_{l-1}^s)^{-1}], for layers of full column rank."""
    below = problem.inputs
    if problem.bias:
        below = torch.cat([below, torch.full_like(below[:1], problem.bias)])
    outputs = representations[-1]
    if problem.cost == "mse":
        total = (outputs - problem.targets).square().sum() / (2 * problem.points)
    else:
        total = torch.nn.functional.cross_entropy(outputs.T, problem.targets)
    for z in representations:
        total = total + problem.penalty * torch.trace(z.T @ z @ torch.linalg.inv(below.T @ below))
        below = extended(problem, z)
    return total


def derivative_along_constraint(problem, representations, index, change, step=1e-5):
    """How fast the loss changes when Z_index moves and the layers above follow no more than they must.

    Returns the derivative by central differences, and the part of the change that the layer below allows.
    """
    below = [torch.cat([problem.inputs, torch.full_like(problem.inputs[:1], problem.bias)])]
    if problem.bias == 0:
        below = [problem.inputs]
    below += [extended(problem, z) for z in representations[:-1]]
    along = change @ torch.linalg.pinv(below[index]) @ below[index]
    tangent, moves = along, {index: along}
    for above in range(index + 1, len(representations)):
        base = below[above]
        weight = representations[above] @ torch.linalg.pinv(base)
        change_of_base = tangent * (representations[above - 1] > 0)
        if problem.bias:
            change_of_base = torch.cat([change_of_base, torch.zeros_like(change_of_base[:1])])
        follow = weight @ change_of_base
        tangent = follow - follow @ torch.linalg.pinv(base) @ base
        moves[above] = tangent
    ends = []
    for signed in (step, -step):
        moved = [
            z + signed * moves[place] if place in moves else z for place, z in enumerate(representations)
        ]
        ends.append(float(representation_loss(problem, project(problem, moved))))
    return (ends[0] - ends[1]) / (2 * step), along
