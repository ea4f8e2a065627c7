"""A place for what a page shows."""

import sys

import pytest

from diffstab.report.claims.statistics import registry
from diffstab.results import schema


@pytest.fixture
def page_place(place, monkeypatch):
    """A folder to run in, which modules are found in too; what they register is forgotten afterwards."""
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    monkeypatch.setattr(schema, "_LISTED", dict(schema._LISTED))
    before = set(sys.modules)
    yield place
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(place)):
            del sys.modules[name]
