"""Measure any model on any images: D, G and R of its output and of its layers.

Lightning and the models' libraries take seconds to import: names are loaded when first asked for.
"""

from typing import TYPE_CHECKING

from diffstab.lazy import lazily

if TYPE_CHECKING:
    from diffstab.measuring.data import open_data
    from diffstab.measuring.measurement import Comparison, Measurement, compare_models
    from diffstab.measuring.one_call import measure
    from diffstab.measuring.settings import DeviceSettings, PassSettings

__all__ = [
    "Comparison",
    "DeviceSettings",
    "Measurement",
    "PassSettings",
    "compare_models",
    "measure",
    "open_data",
]

_HOMES = {
    "Comparison": "measurement",
    "DeviceSettings": "settings",
    "Measurement": "measurement",
    "PassSettings": "settings",
    "compare_models": "measurement",
    "measure": "one_call",
    "open_data": "data",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
