"""What the tests of results share: a small disk of their own."""

import shutil
import subprocess
import sys

import pytest


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
