"""Who gets a word out of a cluster: the holders of its certificate, and nobody else on the machine."""

import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import pytest
import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.grid.certificates import shared_security, warn_of_plain
from diffstab.grid.cluster import Engine, _slurm, connected

FOREIGN = """
import os, sys
from distributed import Client, Security

security = Security.temporary() if sys.argv[2] == "own" else Security()
with Client(sys.argv[1], timeout=5, security=security) as client:
    print("ran", client.run(os.getpid))
"""


def foreign(address, certificate):
    """What another process of the machine gets out of a cluster."""
    command = [sys.executable, "-c", FOREIGN, address, certificate]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.contract
def test_a_cluster_of_this_machine_takes_no_client_without_its_certificate():
    with connected(Engine(workers=1)) as client:
        address = client.scheduler.address
        assert client.submit(os.getpid).result(timeout=60) != os.getpid()
        services = {**client.scheduler_info()["services"]}
        plain = address.replace("tls://", "tcp://")
        asked = [(plain, "none"), (address, "none"), (address, "own")]
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda one: foreign(*one), asked))
        assert [one.returncode for one in answers] == [1, 1, 1]
        assert all("ran" not in one.stdout for one in answers)
        addresses = [address, *client.scheduler_info(n_workers=-1)["workers"]]
    assert all(one.startswith("tls://127.0.0.1:") for one in addresses)
    assert set(services) <= {"dashboard"}  # the port of its pages, of which there are none


def written(folder, security):
    """Settings of Dask that name the certificates of a `Security` in files."""
    texts = {"ca-file": security.tls_ca_file, "client.key": security.tls_client_key}
    texts["client.cert"] = security.tls_client_cert
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {f"distributed.comm.tls.{name}": str(folder / name) for name in texts}


@pytest.mark.contract
def test_a_scheduler_of_ones_own_is_joined_by_certificates_from_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr("diffstab.grid.cluster.CONNECT_SECONDS", 5)
    with connected(Engine(workers=1)) as held:
        engine = Engine(scheduler=held.scheduler.address)
        with pytest.raises(ResultsError, match=r"No Dask scheduler answers at tls://.*Name its certificates"):
            connected(engine).__enter__()
        with dask.config.set(written(tmp_path, held.security)), connected(engine) as client:
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3


def test_a_scheduler_without_tls_is_told(caplog):
    with caplog.at_level(logging.WARNING, logger="diffstab"):
        warn_of_plain("tls://10.0.0.5:8786")
        assert caplog.messages == []
        warn_of_plain("tcp://10.0.0.5:8786")
    assert caplog.messages[0].startswith("tcp://10.0.0.5:8786 is not encrypted")


def test_slurm_jobs_get_certificates_that_others_cannot_read(tmp_path, monkeypatch):
    """The job script names files of a folder that goes with the cluster."""
    profile = tmp_path / "profile.yaml"
    options = {"queue": "main", "cores": 1, "processes": 1, "memory": "1GB", "interface": "lo"}
    profile.write_text(yaml.safe_dump(options))
    monkeypatch.setattr("diffstab.grid.cluster.shutil.which", lambda name: name)
    monkeypatch.setattr("dask_jobqueue.SLURMCluster.adapt", lambda *_, **__: None)
    with _slurm(profile, {"OMP_NUM_THREADS": "1"}, tmp_path / "results" / "a") as cluster:
        script = cluster.job_script()
        words = script.split()
        paths = [Path(words[words.index(f"--tls-{name}") + 1]) for name in ("ca-file", "cert", "key")]
        assert all("PRIVATE KEY" in path.read_text() or "CERTIFICATE" in path.read_text() for path in paths)
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert {stat.S_IMODE(path.parent.stat().st_mode) for path in paths} == {0o700}
        assert {path.parents[1] for path in paths} == {tmp_path}
        assert "PRIVATE KEY" not in script
        assert "tls://" in script
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
    assert not any(path.exists() for path in paths)
    assert list(tmp_path.iterdir()) == [profile]


@pytest.mark.parametrize("name", ["security", "protocol"])
def test_a_profile_cannot_switch_encryption_off(name, tmp_path):
    profile = tmp_path / "profile.yaml"
    profile.write_text(f"cores: 1\n{name}: tcp://")
    with pytest.raises(ArgumentError, match=f"slurm must hold options of dask_jobqueue.*got {name}"):
        connected(Engine(slurm=profile)).__enter__()


def test_a_place_that_takes_no_folder_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr("diffstab.grid.certificates.TemporaryDirectory", refuse)
    with pytest.raises(ResultsError, match=r"certificates of the jobs .*shared_temp_directory"):
        shared_security(tmp_path).__enter__()
