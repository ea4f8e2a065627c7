"""A sweep on a real Slurm of one node, started for the test; docs/clusters.md has the same recipe in words."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from diffstab.grid.plan import CELLS
from diffstab.results import read_records

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which("slurmctld") is None, reason="slurmctld is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the daemons are started as root"),
]

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=5
MpiDefault=none
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def slurm(tmp_path, monkeypatch, wait_until):
    """A Slurm of one node: its queue is `main`."""
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    ports = {"controller": free_port(), "node": free_port()}
    text = CONFIG.format(host=socket.gethostname(), folder=folder, cores=os.cpu_count(), **ports)
    (folder / "slurm.conf").write_text(text)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    started = []
    if not Path("/run/munge/munge.socket.2").exists():
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge")
        started.append(subprocess.Popen(["runuser", "-u", "munge", "--", "munged", "--foreground"]))
        wait_until(Path("/run/munge/munge.socket.2").exists)
    options = ["-D", "-f", str(folder / "slurm.conf")]
    started += [
        subprocess.Popen([daemon, *options], stderr=subprocess.DEVNULL) for daemon in ("slurmctld", "slurmd")
    ]
    wait_until(lambda: "idle" in answer("sinfo", "--noheader", "--format=%T"))
    yield
    for process in reversed(started):
        process.terminate()
        process.wait(timeout=60)


def answer(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_grid_on_slurm_survives_the_loss_of_a_job(slurm, write_sweep, tmp_path, diffstab, wait_until):
    log = tmp_path / "log"
    log.touch()
    path = write_sweep({"numbers": {"values": [[n] for n in range(20)]}}, "--seconds=0.5", "--log", log)
    profile = tmp_path / "profile.yaml"
    options = {"queue": "main", "cores": 1, "processes": 1, "memory": "1GB", "interface": "lo"}
    logs = {"log_directory": str(tmp_path / "jobs"), "local_directory": str(tmp_path / "scratch")}
    profile.write_text(yaml.safe_dump({**options, **logs, "minimum_jobs": 2, "maximum_jobs": 2}))
    process = diffstab("sweep", path, "--slurm", profile)
    wait_until(lambda: log.read_text().count("end") >= 4, seconds=120)
    jobs = answer("squeue", "--noheader", "--format=%A %T").splitlines()
    assert any("RUNNING" in job for job in jobs)
    subprocess.run(["scancel", jobs[0].split()[0]], check=True)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    folder = tmp_path / "results" / "sweep_grid"
    assert sorted(read_records(folder)["number"]) == list(range(20))
    assert set(pd.read_parquet(folder / CELLS)["key"]) == set(read_records(folder)["key"])
    wait_until(lambda: answer("squeue", "--noheader") == "")
