"""Slow, plain losses of L2-regularised nets, point by point, in NumPy."""

import numpy as np


def activation(name, z):
    return np.maximum(z, 0) if name == "relu" else z


def layers(weights, inputs, *, bias, name):
    """Pre-activations of every layer as lists of columns, one point after another."""
    columns = [[] for _ in weights]
    for point in inputs.T:
        value = point
        for index, weight in enumerate(weights):
            if bias > 0:
                value = np.append(value, bias)
            z = np.array([sum(w * v for w, v in zip(row, value, strict=True)) for row in weight])
            columns[index].append(z)
            value = activation(name, z)
    return [np.stack(column, axis=1) for column in columns]


def cost(outputs, targets, *, kind):
    total = 0.0
    for index, column in enumerate(outputs.T):
        if kind == "mse":
            total += ((column - targets[:, index]) ** 2).sum() / 2
        else:
            total += np.log(np.exp(column).sum()) - column[targets[index]]
    return total / outputs.shape[1]


def weight_loss(weights, inputs, targets, *, kind, penalty, bias, name):
    outputs = layers(weights, inputs, bias=bias, name=name)[-1]
    return cost(outputs, targets, kind=kind) + penalty * sum((weight**2).sum() for weight in weights)


def below(representations, inputs, *, bias, name):
    """Z_0^s ... Z_{L-1}^s."""
    found = [inputs, *(activation(name, z) for z in representations[:-1])]
    if bias == 0:
        return found
    return [np.vstack([part, np.full((1, part.shape[1]), bias)]) for part in found]


def representation_loss(representations, inputs, targets, *, kind, penalty, bias, name):
    terms = zip(representations, below(representations, inputs, bias=bias, name=name), strict=True)
    norms = sum(((z @ np.linalg.pinv(factor)) ** 2).sum() for z, factor in terms)
    return cost(representations[-1], targets, kind=kind) + penalty * norms


def covariance_loss(representations, inputs, targets, *, kind, penalty, bias, name):
    """The traces, by solving with a least-squares routine that shares nothing with eigendecompositions."""
    total = 0.0
    for z, factor in zip(representations, below(representations, inputs, bias=bias, name=name), strict=True):
        solved = np.linalg.lstsq(factor.T @ factor, z.T @ z, rcond=1e-11)[0]
        total += np.trace(solved)
    return cost(representations[-1], targets, kind=kind) + penalty * total
