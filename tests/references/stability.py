"""Slow, obvious versions of what diffstab.stability computes, in plain Python and numpy loops."""

import math
import statistics

import numpy as np


def squared_distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(np.ravel(a).tolist(), np.ravel(b).tolist(), strict=True))


def stability_by_loops(f_clean, f_deformed, f_noisy):
    """The nine numbers of a Stability from outputs (P, ...) and lists of changed outputs [(P, ...), ...]."""
    images = range(len(f_clean))
    pairs = [squared_distance(f_clean[i], f_clean[j]) for i in images for j in images if i != j]
    denominator = statistics.fmean(pairs)
    deformation = [
        statistics.fmean(squared_distance(field[i], f_clean[i]) for field in f_deformed) for i in images
    ]
    noise = [statistics.fmean(squared_distance(field[i], f_clean[i]) for field in f_noisy) for i in images]
    return _nine_numbers(deformation, noise, denominator)


def _nine_numbers(deformation, noise, denominator):
    """D, G, R by means, what they consist of, and the three by medians, from a number per image."""
    means = statistics.fmean(deformation), statistics.fmean(noise)
    medians = statistics.median(deformation), statistics.median(noise)
    return (
        means[0] / denominator,
        means[1] / denominator,
        means[0] / means[1],
        *means,
        denominator,
        medians[0] / denominator,
        medians[1] / denominator,
        medians[0] / medians[1],
    )


def resampled_by_loops(f_clean, deformation_squares, noise_squares, drawn):
    """The nine numbers for the images `drawn`, repeats included; pairs of one image with itself left out."""
    pairs = [squared_distance(f_clean[i], f_clean[j]) for i in drawn for j in drawn if i != j]
    denominator = statistics.fmean(pairs)
    deformation, noise = [deformation_squares[i] for i in drawn], [noise_squares[i] for i in drawn]
    return _nine_numbers(deformation, noise, denominator)


def bilinear(image, row, column):
    """Value of a (H, W) image at a real position, clamped to it."""
    height, width = image.shape
    row, column = min(max(row, 0.0), height - 1.0), min(max(column, 0.0), width - 1.0)
    top, left = min(int(row), height - 2), min(int(column), width - 2)
    down, right = row - top, column - left
    upper = (1 - right) * image[top, left] + right * image[top, left + 1]
    lower = (1 - right) * image[top + 1, left] + right * image[top + 1, left + 1]
    return (1 - down) * upper + down * lower


def rotated_by_loops(image, angle_deg):
    """A (H, W) image turned counterclockwise as displayed, pixel by pixel, in y-up coordinates."""
    height, width = image.shape
    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    angle = math.radians(angle_deg)
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            right, up = column - centre_column, centre_row - row
            # the point that the rotation by +angle brings here
            source_right = math.cos(angle) * right + math.sin(angle) * up
            source_up = -math.sin(angle) * right + math.cos(angle) * up
            result[row, column] = bilinear(image, centre_row - source_up, centre_column + source_right)
    return result
