"""A Ray session: the cluster's where there is one, else an embedded one; quiet, and ended only if started here."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import copies, refreshing
from cluster.copies import MARK
from cluster.files import read_json
from cluster.project import ROOT
from genlib import InputError

AUTOSCALER = "ray/autoscaler/_private/monitor.py"


@contextmanager
def ray_session(
    cpus: int | None = None, *, verbose: bool = False, meanwhile: Callable[[], Any] = lambda: None
) -> Iterator[None]:
    """Connect to the cluster that `RAY_ADDRESS` names (in a job Ray sets it), or start Ray on this machine.

    An embedded session has a slot per core, and each of its processes computes on one thread.

    Arguments:
        meanwhile: done in this thread while Ray starts in another.
    """
    quiet()
    if ray.is_initialized():
        meanwhile()
        yield
        return
    there, over, failed = threading.Event(), threading.Event(), list[BaseException]()

    def hold() -> None:  # Ray's processes end with the thread that started them
        try:
            with _session(cpus, verbose):
                there.set()
                over.wait()
        except BaseException as error:
            failed.append(error)
            there.set()

    holder = threading.Thread(target=hold, name="Ray's session", daemon=True)
    holder.start()
    try:
        meanwhile()
        there.wait()
        if failed:
            raise failed[0]
        yield
    finally:
        there.wait()
        over.set()
        holder.join()


@contextmanager
def _session(cpus: int | None, verbose: bool) -> Iterator[None]:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    remote = "RAY_ADDRESS" in os.environ
    level = logging.INFO if verbose else logging.ERROR
    try:
        if remote:
            ray.init(logging_level=level, log_to_driver=verbose)
        else:
            ray.init(  # of its own, also where somebody has started Ray on this machine
                "local", num_cpus=cpus or os.cpu_count(), include_dashboard=False, logging_level=level,
                log_to_driver=verbose,
            )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {os.environ['RAY_ADDRESS']}" if remote else "on this machine"
        raise InputError(f"Ray {where} cannot be reached or started ({str(error).splitlines()[0]}).") from error
    try:
        yield
    finally:
        if not remote:
            _kill_autoscaler()
        ray.shutdown()


def _kill_autoscaler() -> None:
    """On one machine it has nothing to do, and would take a second to end."""
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if any(word.endswith(AUTOSCALER) for word in process.cmdline()):
                process.kill()


def probe_storage(storage: Path) -> None:
    """Refuse a storage that some node of the cluster does not see."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    refreshing.keep_fetching(storage)
    expected = read_json(storage / MARK)["id"]
    for node in nodes:
        placed = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        seen = ray.get(_storage_id.options(scheduling_strategy=placed).remote(str(storage)))
        if seen != expected:
            where = node["NodeManagerHostname"]
            raise InputError(
                f"the storage {copies.shown(storage)} is not seen on node {where}: give one that all share."
            )


@ray.remote(num_cpus=0)
def _storage_id(storage: str) -> str:
    try:
        copies.bring_mark(Path(storage))
        return str(read_json(Path(storage) / MARK)["id"])
    except (OSError, InputError):
        return ""


def quiet() -> None:
    """Keep Ray's libraries quiet, for the console belongs to the scripts; let their workers import from the project."""
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    for name in ("ray.train", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def resources() -> dict[str, float]:
    """CPUs and GPUs of the session's cluster."""
    totals = ray.cluster_resources()
    return {"CPU": totals.get("CPU", 0.0), "GPU": totals.get("GPU", 0.0)}


def available(cpus: int | None = None) -> dict[str, float]:
    """CPUs and GPUs of the cluster that a session would use; an embedded one need not be started to know."""
    if ray.is_initialized():
        return resources()
    if "RAY_ADDRESS" in os.environ:
        with ray_session():
            return resources()
    import torch

    return {"CPU": float(cpus or os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
