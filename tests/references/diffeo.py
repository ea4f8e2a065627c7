"""Slow, obvious loops for displacement fields, warps and Jacobians, in Python floats."""

import math

import torch

SIGMA_PX = 0.4715


def field_by_loops(coefficients: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Sum the sine series pixel by pixel: (count, 2, c, c) -> (count, 2, H, W) in float64, pixels."""
    count, _, cutoff, _ = coefficients.shape
    field = torch.zeros(count, 2, height, width, dtype=torch.float64)
    for n in range(count):
        for component, side in ((0, width), (1, height)):
            for row in range(height):
                for column in range(width):
                    u, v = column / (width - 1), row / (height - 1)
                    total = 0.0
                    for i in range(1, cutoff + 1):
                        for j in range(1, cutoff + 1):
                            amplitude = float(coefficients[n, component, i - 1, j - 1])
                            total += amplitude * math.sin(i * math.pi * u) * math.sin(j * math.pi * v)
                    field[n, component, row, column] = side * total
    return field


def jacobian_determinant(coefficients: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Determinant of the pixel map s -> s + d(s), from the derivative of each sine: (count, H, W)."""
    cutoff = coefficients.shape[-1]
    modes = math.pi * torch.arange(1, cutoff + 1, dtype=torch.float64)
    phase_x = torch.linspace(0, 1, width, dtype=torch.float64)[:, None] * modes
    phase_y = torch.linspace(0, 1, height, dtype=torch.float64)[:, None] * modes
    slope_x, slope_y = phase_x.cos() * modes / (width - 1), phase_y.cos() * modes / (height - 1)
    sides = torch.tensor([width, height], dtype=torch.float64)[:, None, None]
    scaled = coefficients.double() * sides
    by_x = torch.einsum("nkij,xi,yj->nkyx", scaled, slope_x, phase_y.sin())
    by_y = torch.einsum("nkij,xi,yj->nkyx", scaled, phase_x.sin(), slope_y)
    return (1 + by_x[:, 0]) * (1 + by_y[:, 1]) - by_x[:, 1] * by_y[:, 0]


def warp_by_loops(images: torch.Tensor, field: torch.Tensor, mode: str) -> torch.Tensor:
    """Take the value of each image at (x - dx, y - dy), clamped: (n, C, H, W) in float64."""
    count, channels, height, width = images.shape
    sample = {"bilinear": _bilinear, "nearest": _nearest, "gaussian": _gaussian}[mode]
    result = torch.zeros(images.shape, dtype=torch.float64)
    for n in range(count):
        for row in range(height):
            for column in range(width):
                x = min(max(column - float(field[n, 0, row, column]), 0.0), width - 1.0)
                y = min(max(row - float(field[n, 1, row, column]), 0.0), height - 1.0)
                for channel in range(channels):
                    result[n, channel, row, column] = sample(images[n, channel].double(), x, y)
    return result


def _bilinear(image: torch.Tensor, x: float, y: float) -> float:
    left, top = math.floor(x), math.floor(y)
    right, bottom = math.ceil(x), math.ceil(y)
    a, b = x - left, y - top
    upper = (1 - a) * float(image[top, left]) + a * float(image[top, right])
    lower = (1 - a) * float(image[bottom, left]) + a * float(image[bottom, right])
    return (1 - b) * upper + b * lower


def _nearest(image: torch.Tensor, x: float, y: float) -> float:
    return float(image[round(y), round(x)])


def _gaussian(image: torch.Tensor, x: float, y: float) -> float:
    total, norm = 0.0, 0.0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            weight = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * SIGMA_PX**2))
            total += weight * float(image[row, column])
            norm += weight
    return total / norm
