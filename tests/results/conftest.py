"""What the tests of results share: some records, how they are compared, and a small disk of their own."""

import math
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from diffstab.results import Records


@pytest.fixture
def on_small_disk(tmp_path):
    """Run a Python script on a file system of 256 KiB, in a mount namespace of its own; return what it printed.

    The script finds the folder in `sys.argv[1]`, and can make it read-only by `sys.argv[2]` as a shell command.
    """

    def run(script):
        mount = f"mount -t tmpfs -o size=256k none {tmp_path}"
        inside = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
        if not shutil.which("unshare") or subprocess.run([*inside, mount], capture_output=True).returncode:
            pytest.skip("no mount namespaces here")
        command = [*inside, f'{mount} && exec "$@"', "sh", sys.executable, "-c", script, str(tmp_path)]
        command += [f"mount -o remount,ro {tmp_path}"]
        answer = subprocess.run(command, capture_output=True, text=True)
        assert not answer.returncode, answer.stderr
        return answer.stdout

    return run


ROWS = {
    "a": {"method": "feature", "D": 0.1, "steps": 3, "stop": None, "trace": [], "nested": [[1.0], []]},
    "b": {"method": "lazy", "D": None, "extra": True},
    "c": {"steps": 4.5, "method": "feature", "stop": "margin", "trace": [1.0, math.nan]},
    "d": {"method": "lazy", "D": math.nan, "steps": None, "trace": None, "stop": "é\n"},
    "e": {"other": 2**60, "nothing": None, "method": ""},
}


@pytest.fixture
def records(tmp_path):
    records = Records(tmp_path / "results")
    for key, row in ROWS.items():
        records.write(key, row)
    return records


def assert_same(frame, expected):
    """Bit for bit: values, missing values and their kind, types, order of rows and columns."""
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    for name in expected:
        for value, known in zip(frame[name], expected[name], strict=True):
            assert type(value) is type(known)
            if isinstance(known, float):
                assert np.float64(value).tobytes() == np.float64(known).tobytes()


def files(records, name):
    return sorted(path.name for path in (records.folder / name).iterdir())
