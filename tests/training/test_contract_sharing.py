"""Task and callback in several processes: the numbers, the stop and the weights are those of one."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.references.processes import measured

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ("mini-batches", "with bars", "full batch")
MEASURED = (
    "torch's loader",
    "torch's loader in each process",
    "noise of the batch",
    "log-spaced schedule",
)

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return measured(str(tmp_path_factory.mktemp("alone")), 1)


@pytest.fixture(scope="module", params=[3])
def shared(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("shared") / "numbers.json"
    command = [sys.executable, "-m", "tests.references.processes", str(request.param), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(path.read_text())


def check_equal(found, expected, rel):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Each process counts from its own first images: the ends of intervals differ a little.
        near = 0.5 if name.endswith(("_low", "_high")) else rel
        assert (
            math.isnan(found[name]) if math.isnan(value) else found[name] == pytest.approx(value, rel=near)
        ), name


@pytest.mark.parametrize("case", TRAINED)
def test_training_is_that_of_one_process(alone, shared, case):
    assert shared[f"{case}: reason"] == alone[f"{case}: reason"] == "margin"
    # Float64 nets; numbers are logged in float32.
    check_equal(shared[case], alone[case], rel=1e-6)


def test_numbers_do_not_hang_on_bars_loggers_and_callbacks(alone, shared):
    for found in (alone, shared):
        check_equal(
            {name: found["with bars"][name] for name in found["mini-batches"]}, found["mini-batches"], 0
        )


@pytest.mark.parametrize("case", MEASURED)
def test_every_image_counts_once(alone, shared, case):
    check_equal(shared[case], alone[case], rel=1e-6)


def test_a_flow_says_that_it_runs_in_one_process(alone, shared):
    assert alone["flow"] == "ran"
    assert "trainer.devices must be one process for gradient_flow" in shared["flow"]
