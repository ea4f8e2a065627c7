"""Slow, obvious references for the kernels: explicit networks and quadrature, numpy only."""

import math

import numpy as np


def relu(z):
    return np.maximum(z, 0.0), (z > 0).astype(float)


def normalised_softplus(beta):
    """s and s' of the softplus with E[s(z)^2] = 1 under the standard Gaussian."""
    z = np.linspace(-14, 14, 40_001)
    plain = np.logaddexp(0, beta * z) / beta
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    a = 1 / math.sqrt(np.sum(plain**2 * density) * (z[1] - z[0]))
    return lambda z: (a * np.logaddexp(0, beta * z) / beta, a / (1 + np.exp(-beta * z)))


def network_kernels(x, *, width, depth, activation, rng):
    """Tangent and random-feature kernels of one random network of the given width, sample by sample."""
    weights = [rng.standard_normal((width, x.shape[1]))]
    weights += [rng.standard_normal((width, width)) for _ in range(depth - 1)]
    readout = rng.standard_normal(width)
    features, gradients = [], []
    for point in x:
        inputs, slopes = [point / math.sqrt(x.shape[1])], []
        for weight in weights:
            value, slope = activation(weight @ inputs[-1])
            inputs.append(value / math.sqrt(width))
            slopes.append(slope / math.sqrt(width))
        gradient = [inputs[-1]]
        signal = readout * slopes[-1]
        for layer in range(depth - 1, -1, -1):
            gradient.append(np.outer(signal, inputs[layer]).ravel())
            if layer > 0:
                signal = (weights[layer].T @ signal) * slopes[layer - 1]
        features.append(inputs[-1])
        gradients.append(np.concatenate(gradient))
    return np.stack(gradients) @ np.stack(gradients).T, np.stack(features) @ np.stack(features).T


def relu_expectations(v, w, c):
    """E[relu(p) relu(q)] and E[relu'(p) relu'(q)], covariance [[v, c], [c, w]], by an integral over the angle."""
    angle = math.acos(max(-1.0, min(1.0, c / math.sqrt(v * w))))
    # p > 0 for phi in (-pi/2, pi/2), q > 0 for phi - angle in (-pi/2, pi/2); midpoint rule on the overlap.
    count = 20_000
    step = (math.pi - angle) / count
    phi = angle - math.pi / 2 + step * (np.arange(count) + 0.5)
    value = math.sqrt(v * w) * np.sum(np.cos(phi) * np.cos(phi - angle)) * step / math.pi
    return value, count * step / (2 * math.pi)


def smooth_expectations(activation, v, w, c):
    """E[s(p) s(q)] and E[s'(p) s'(q)], covariance [[v, c], [c, w]], on a square grid of independent Gaussians."""
    step = 0.05
    z = np.arange(-9, 9 + step / 2, step)
    weight = np.exp(-(z**2) / 2) * step / math.sqrt(2 * math.pi)
    along = c / math.sqrt(v)
    across = math.sqrt(max(w - along**2, 0.0))
    value_p, slope_p = activation(math.sqrt(v) * z)
    value_q, slope_q = activation(along * z[:, None] + across * z)
    return (weight * value_p) @ value_q @ weight, (weight * slope_p) @ slope_q @ weight


def pair_kernels(x, y, *, depth, expectations):
    """Tangent and random-feature kernels of two points by the recursion over layers."""
    v, w, c = x @ x / len(x), y @ y / len(y), x @ y / len(x)
    tangent = c
    for _ in range(depth):
        value, slope = expectations(v, w, c)
        v, w, c = expectations(v, v, v)[0], expectations(w, w, w)[0], value
        tangent = tangent * slope + value
    return tangent, c
