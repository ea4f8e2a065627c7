"""Named statistics: what makes numbers with intervals of records, to be judged by the rule of a claim."""

from importlib import import_module

from diffstab.report.statistics.registry import ClaimStatistic, Measurement, statistic, statistic_named

MODULES = ("draws", "sphere", "fields", "plateaus", "forces", "identities")
"""Where statistics are defined; a module that is imported here registers what it has."""

for _name in MODULES:
    import_module(f"{__name__}.{_name}")

__all__ = ["ClaimStatistic", "Measurement", "statistic", "statistic_named"]
