"""Learning curves on the sphere with known exponents."""

import pytest

from tests.references import sphere_curves as made_up


@pytest.fixture(scope="session")
def sphere_records():
    """Records of the constant target, d = 3, whose errors are 5 n^-beta times log-normal noise."""
    return made_up.sphere_records
