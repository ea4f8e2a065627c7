"""Maximum-entropy diffeomorphisms: draw displacement fields, relate them to a temperature, warp images, move points.

The kornia augmentation is in `diffstab.diffeo.sampler`; importing this package does not import kornia.
"""

from diffstab.diffeo.field import displacement_field, draw_coefficients, draw_field
from diffstab.diffeo.folding import folded
from diffstab.diffeo.points import inverse_field, moved_boxes, moved_points, source_points
from diffstab.diffeo.temperature import (
    AdmissibleRange,
    admissible_temperatures,
    displacement_from_temperature,
    mode_variances,
    rms_displacement_px,
    temperature_from_displacement,
)
from diffstab.diffeo.warp import warp, warp_by_coefficients

__all__ = [
    "AdmissibleRange",
    "admissible_temperatures",
    "displacement_field",
    "displacement_from_temperature",
    "draw_coefficients",
    "draw_field",
    "folded",
    "inverse_field",
    "mode_variances",
    "moved_boxes",
    "moved_points",
    "rms_displacement_px",
    "source_points",
    "temperature_from_displacement",
    "warp",
    "warp_by_coefficients",
]
