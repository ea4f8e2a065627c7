"""The Dask clusters that a sweep can run on: of this machine, of a scheduler that is there, of Slurm jobs."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.extras import require
from diffstab.grid.certificates import TLS_OPTIONS, own_security, shared_security, warn_of_plain
from diffstab.results import parse_yaml
from diffstab.results.scratch import scratch_folder

_LOG = logging.getLogger("diffstab.grid")

CONNECT_SECONDS = 10
WORKER_SECONDS = 120
"""How long a scheduler, and a first worker of it, is waited for."""

_SETTINGS = {
    "distributed.worker.daemon": False,  # data loaders of a run start processes of their own
    "distributed.scheduler.allowed-failures": 2,  # a batch that kills its third worker ends alone
    "distributed.scheduler.worker-saturation": 1.0,  # no batch waits beside one that may kill their worker
    "distributed.worker.memory.terminate": False,  # memory is the kernel's to watch; a pause would never end
    "distributed.worker.memory.pause": False,
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
    "distributed.admin.tick.limit": "1h",  # runs hold the interpreter for long; nothing a user could act on
    "distributed.scheduler.http.routes": [],  # pages that take no certificate
    "distributed.worker.http.routes": [],
}

_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Any port, that only this machine reaches: two sweeps on it would both ask for the usual one."""

_JOB_SETTINGS = {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]"}
"""Of the workers that Slurm starts, which do not get the settings of this process."""


@dataclass(frozen=True)
class Engine:
    """Where a sweep runs.

    Args:
        workers: Processes on this machine; None takes as many as cores allow with `threads` each.
        threads: Threads of linear algebra in each.
        scheduler: Address of a Dask scheduler to join instead, tls://host:port (or tcp://, which takes anybody).
        slurm: YAML file of the Slurm jobs to start instead: options of `dask_jobqueue.SLURMCluster`, and
            `minimum_jobs` and `maximum_jobs`.

    Raises:
        ArgumentError: If a number is below 1, or both a scheduler and Slurm are given.
    """

    workers: int | None = None
    threads: int = 1
    scheduler: str | None = None
    slurm: Path | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(name, "be at least 1", value)
        if self.scheduler and self.slurm:
            raise ArgumentError("scheduler", "not be given with slurm", self.scheduler)
        if self.workers and (self.scheduler or self.slurm):
            raise ArgumentError("workers", "be left to the cluster", self.workers)

    @property
    def processes(self) -> int:
        """Processes on this machine; 1 for a cluster, whose size is its own."""
        if self.scheduler or self.slurm:
            return 1
        # Those that this process may use, as far as the system says.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or max(1, cores // self.threads)


@contextmanager
def connected(engine: Engine, *, shared: Path | None = None) -> Iterator[Any]:
    """Hold a client of a Dask cluster with a worker at least; what was started ends with it.

    Clusters that are started here talk by TLS, with a key of their own: nobody else gets a word out of them.

    Args:
        engine: Where it runs.
        shared: A place that Slurm jobs see too, for their certificates; None is the working directory.

    Raises:
        ArgumentError: If the Slurm profile is wrong, or a package is not installed.
        ResultsError: If the scheduler cannot be reached or no worker comes.
    """
    require("distributed", "to run a grid in several processes")
    import dask
    import distributed  # noqa: F401  # its defaults are set on import, which the end of our settings would drop

    libraries = ("OMP", "MKL", "OPENBLAS")
    variables = {f"{library}_NUM_THREADS": str(engine.threads) for library in libraries}
    settings = {**_SETTINGS, "distributed.nanny.pre-spawn-environ": variables}
    if not engine.slurm:
        # A nanny starts its worker anew, however long that takes on a busy machine, and is not to be closed meanwhile.
        settings["distributed.deploy.lost-worker-timeout"] = "1000d"
    with ExitStack() as stack:
        scratch = str(stack.enter_context(scratch_folder()))
        stack.enter_context(dask.config.set({**settings, "temporary-directory": scratch}))
        stack.enter_context(_quiet())
        target: Any = engine.scheduler
        if engine.slurm:
            target = stack.enter_context(_slurm(engine.slurm, variables, shared or Path()))
            # Jobs may queue for long.
            _LOG.info("Waiting for a first Slurm job to start; squeue shows it.")
        elif not engine.scheduler:
            target = stack.enter_context(_local(engine))
        client = stack.enter_context(_client(target))
        try:
            client.wait_for_workers(1, timeout=None if engine.slurm else WORKER_SECONDS)
        except TimeoutError as error:
            message = f"No worker has come within {WORKER_SECONDS} s."
            way_out = f"Start some with `dask worker {engine.scheduler} --nthreads 1`."
            raise ResultsError(f"{message} {way_out}") from error
        yield client


def _client(target: Any) -> Any:
    """Return a client of a cluster, or of the scheduler at an address."""
    from distributed import Client

    if isinstance(target, str):
        warn_of_plain(target)
    try:
        return Client(target, timeout=CONNECT_SECONDS, set_as_default=False)
    # Whatever distributed makes of a wrong address, of certificates that are missing, and of foreign ones.
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        message = f"No Dask scheduler answers at {target} ({error})."
        way_out = "Start one with `dask scheduler`, or leave the option out."
        if str(target).startswith("tls://"):
            way_out = f"Name its certificates by {TLS_OPTIONS}; see docs/clusters.md."
        raise ResultsError(f"{message} {way_out}") from error


@contextmanager
def _local(engine: Engine) -> Iterator[Any]:
    from distributed import LocalCluster

    cluster = LocalCluster(
        n_workers=engine.processes,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        scheduler_kwargs=_NO_DASHBOARD,
        security=own_security(),
        silence_logs=logging.CRITICAL,
    )
    try:
        yield cluster
    finally:
        # A run cannot be interrupted in its thread: its process goes.
        for nanny in cluster.workers.values():
            if nanny.process is not None and nanny.process.process is not None:
                nanny.process.process.kill()
        cluster.close()


@contextmanager
def _slurm(path: Path, variables: Mapping[str, str], shared: Path) -> Iterator[Any]:
    require("dask_jobqueue", "to start Slurm jobs")
    from dask_jobqueue import SLURMCluster

    options = _profile(path)
    if shutil.which("sbatch") is None:
        raise ResultsError("There is no sbatch here. Start the sweep where Slurm takes jobs.")
    place = Path(options.pop("shared_temp_directory", None) or shared).expanduser()
    least, most = (options.pop(name, 1) for name in ("minimum_jobs", "maximum_jobs"))
    prologue = [f"export {name}='{value}'" for name, value in {**variables, **_JOB_SETTINGS}.items()]
    options["job_script_prologue"] = [*prologue, *options.get("job_script_prologue", [])]
    # The cores of a worker are for the linear algebra of the one batch that it runs at a time.
    options["worker_extra_args"] = [*options.get("worker_extra_args", []), "--nthreads", "1"]
    options["scheduler_options"] = {**_NO_DASHBOARD, **options.get("scheduler_options", {})}
    with shared_security(place) as security:
        try:
            started = SLURMCluster(**options, security=security, silence_logs="critical")
        except (TypeError, ValueError, OSError) as error:
            raise ArgumentError("slurm", "make a SLURMCluster", f"{path} ({error})") from error
        with started as cluster:
            cluster.adapt(minimum_jobs=least, maximum_jobs=max(least, most))
            yield cluster


def _profile(path: Path) -> dict[str, Any]:
    try:
        options = parse_yaml(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ArgumentError("slurm", "name a readable YAML file", f"{path} ({error})") from error
    if not isinstance(options, dict):
        raise ArgumentError("slurm", "name a YAML file with a mapping of options", path)
    if unknown := sorted(set(options) - _slurm_options()):
        raise ArgumentError("slurm", "hold options of dask_jobqueue.SLURMCluster", unknown[0])
    for name in ("minimum_jobs", "maximum_jobs"):
        if not isinstance(options.get(name, 1), int) or options.get(name, 1) < 1:
            raise ArgumentError(f"slurm: {name}", "be a number of at least 1", repr(options[name]))
    for name in ("job_script_prologue", "worker_extra_args"):
        if not isinstance(options.get(name, []), list):
            raise ArgumentError(f"slurm: {name}", "be a list", repr(options[name]))
    return options


def _slurm_options() -> set[str]:
    from dask_jobqueue.core import Job, JobQueueCluster
    from dask_jobqueue.slurm import SLURMJob

    kinds = (Job, JobQueueCluster, SLURMJob)
    names = {name for kind in kinds for name in signature(kind.__init__).parameters}
    return (names | {"minimum_jobs", "maximum_jobs"}) - {"self", "silence_logs", "security", "protocol"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the cluster's own log to what a user can act on."""
    names = [name for name in logging.root.manager.loggerDict if f"{name}.".startswith("distributed.")]
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in before:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
