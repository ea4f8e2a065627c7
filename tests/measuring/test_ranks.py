"""Processes that others have started: torchrun's give the numbers of one process, all others are refused in a line."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.measuring import DeviceSettings, PassSettings, measure
from diffstab.measuring.ranks import started_together

from .conftest import small_net, smooth_images

SOURCE = """
import torch
from tests.measuring.conftest import small_net, smooth_images

def net(seed=0):
    return small_net(seed)

def images():
    return torch.utils.data.TensorDataset(smooth_images(45), torch.arange(45) % 3)
"""


def of_torchrun(rank, port):
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    told = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "GROUP_RANK": "0"}
    return {**os.environ, **told, **{name: str(value) for name, value in names.items()}}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.contract
@pytest.mark.parametrize("noise", ["matched", "batch"])
def test_two_processes_of_torchrun_give_the_numbers_of_one(tmp_path, noise):
    (tmp_path / "theirs_of_ranks.py").write_text(SOURCE)
    models = ["--model", "a=theirs_of_ranks:net", "--model", "b=theirs_of_ranks:net"]
    settings = [
        "--data",
        "theirs_of_ranks:images",
        "--deltas",
        "0.4px",
        "--layers",
        "second",
        "--noise",
        noise,
    ]
    args = [
        sys.executable,
        "-m",
        "diffstab",
        "measure",
        *models,
        "--init_args",
        "{seed: 0}",
        "--init_args",
        "{seed: 1}",
    ]
    args += [*settings, "--accelerator", "cpu", "--json"]
    port, paths = free_port(), os.pathsep.join(map(str, (tmp_path, Path.cwd())))
    started = []
    for name, env in (("one", os.environ), ("two", of_torchrun(0, port)), ("two", of_torchrun(1, port))):
        command = [*args, "--results", str(tmp_path / name)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
        started.append(subprocess.Popen(command, env={**env, "PYTHONPATH": paths}, **options))
    answers = [one.communicate(timeout=600) for one in started]
    assert [one.returncode for one in started] == [0, 0, 0], answers
    rows = [json.loads(answer[0])["rows"] for answer in answers[:2]]
    assert answers[2][0] == ""  # the second process says nothing
    assert len(rows[0]) == len(rows[1]) == 4
    for one, two in zip(*rows):
        assert (one["model"], one["layer"], one["images"]) == (two["model"], two["layer"], two["images"])
        for name in ("D", "G", "R", "R_low", "R_high", "floor", "accuracy", "noise_norm"):
            assert two[name] == pytest.approx(one[name], rel=1e-5)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_of_others_are_refused_in_a_line(monkeypatch, name, capsys):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv(name, "3")
    match = f"processes must be started by the measurement, or by torchrun, got {name}=3"
    with pytest.raises(ArgumentError, match=match):
        measure(small_net(), smooth_images(5), settings=PassSettings(layers=("output",)))
    monkeypatch.setenv(name, "1")
    assert started_together() is None


def test_a_process_group_of_others_is_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    assert started_together() is None
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ArgumentError, match=r"processes must be started .*, got a process group of 2"):
        started_together()


def test_devices_are_those_of_torchrun(monkeypatch):
    for name, value in of_torchrun(0, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ArgumentError, match="devices must be left to torchrun, got 3 with 2 processes"):
        measure(small_net(), smooth_images(5), devices=DeviceSettings("cpu", 3))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert started_together() is None
