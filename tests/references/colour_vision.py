"""How colours look to readers who lack one kind of cone, and how far two of them are apart.

Machado, Oliveira, Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency", Table 1 at
severity 1: matrices on linear RGB. Difference: the distance in CIE L*a*b* (CIE 1976) under D65.
"""

import numpy as np
from matplotlib.colors import to_rgb

VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour):
    """Linear RGB of a colour of matplotlib."""
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour, vision="normal"):
    """L*, a* and b* of a colour as a reader of that vision sees it."""
    seen = np.clip(VISION[vision] @ linear(colour), 0, 1)
    share = _TO_XYZ @ seen / _TO_XYZ.sum(axis=1)
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def difference(first, second, vision="normal"):
    """Distance of two colours in L*a*b*; about 2.3 is just noticeable side by side."""
    return float(np.linalg.norm(lab(first, vision) - lab(second, vision)))


def contrast(first, second):
    """Contrast ratio of the WCAG 2 between two colours, 1 to 21."""
    light, dark = sorted((_TO_XYZ[1] @ linear(colour) for colour in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
