"""Named statistics: what makes numbers with intervals of records, to be judged by the rule of a claim."""

from importlib import import_module

from diffstab.report.claims.statistics.registry import Measurement, measure, statistic, statistic_named

# A module that is imported here registers what it has.
_MODULES = (
    "draws",
    "sphere",
    "fields",
    "plateaus",
    "forces",
    "identities",
    "uniqueness",
    "thresholds",
    "filters",
    "minima",
)
for _name in _MODULES:
    import_module(f"{__name__}.{_name}")

__all__ = ["Measurement", "measure", "statistic", "statistic_named"]
