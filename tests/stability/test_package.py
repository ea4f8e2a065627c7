import subprocess
import sys

import pytest

import diffstab.stability


def test_importing_the_package_leaves_torchmetrics_alone():
    code = "import sys, diffstab.stability; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    for name in diffstab.stability.__all__:
        assert getattr(diffstab.stability, name).__module__.startswith("diffstab.stability.")


def test_any_other_name_is_refused():
    with pytest.raises(AttributeError, match=r"module 'diffstab.stability' has no attribute 'relative'"):
        _ = diffstab.stability.relative
