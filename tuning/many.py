"""Many runs at once, without a search: a Ray task per run, results as they come."""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ray

from cluster.files import RunFailed
from cluster.lease import Lease, exit_when_lapsed, wait_for_lapse
from cluster.needs import lending_from, train_needs
from cluster.parcel import Parcel, pack, unpack
from cluster.plan import Plan, words
from cluster.run import Run, kill_unfinished
from cluster.session import available, probe_storage, ray_session
from cluster.stopping import on_stop
from cluster.storage import open_storage
from cluster.workers import Workers
from genlib import Study
from genlib.own import importable, refuse_while_importing
from tuning.folder import SweepFolder


class Done(NamedTuple):
    """A run that ended: the study, its directory, and what `work` returned."""

    study: Study[Any]
    path: Path
    value: Any


def run_many(
    studies: Sequence[Study[Any]],
    storage: str | Path,
    work: Callable[[Run], Any],
    *,
    gathered: SweepFolder | None = None,
    workers: Workers | None = None,
    cpus: int | None = None,
    evaluated: bool = True,
) -> Iterator[Done]:
    """Do `work` on every distinct run, in parallel; yield each as it ends. A failure stops the rest.

    Arguments:
        gathered: the folder where all runs go, instead of one for each study.
        evaluated: whether `work` evaluates the runs, for which they may need models that training does without.
    """
    refuse_while_importing()
    workers = workers or Workers()
    distinct = list(dict.fromkeys(map(importable, studies)))
    for study in distinct:
        workers.check(study)
    Plan(len(distinct), 1, workers, available(cpus), 0.0).check()
    storage = open_storage(Path(storage).absolute())
    runs = {study: Run(study, storage, sweep=gathered.path.name if gathered else None) for study in distinct}

    def settle(name: str) -> None:
        kill_unfinished(list(runs.values()), f"stopped by {name}")
        if gathered:
            gathered.settle(name)

    with (
        ray_session(cpus),
        on_stop(settle),
        _driving(storage) as driver,
    ):
        probe_storage(storage)
        train_needs(distinct, storage, evaluated=evaluated)
        at_once = Plan(len(distinct), 1, workers, available(cpus), 0.0).at_once
        waiting = distinct[::-1]
        running: dict[Any, Study[Any]] = {}
        began = time.monotonic()
        while waiting or running:
            while waiting and len(running) < at_once:
                study = waiting.pop()
                needs = {"num_cpus": workers.cpus if workers.most == 1 else 0, "num_gpus": workers.gpus}
                running[_work.options(**needs).remote(pack((runs[study], work)), str(driver))] = study
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            study = running.pop(ready)
            try:
                value = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # the sentence itself, not the remote traceback
            except ray.exceptions.RayError as error:
                raise RunFailed(f"the process of {runs[study].path} died (memory?): {error}") from error
            done = len(distinct) - len(waiting) - len(running)
            elapsed = time.monotonic() - began
            left = f"{words(elapsed)}, about {words(elapsed / done * (len(distinct) - done))} to go"
            sys.stderr.write(f"{done}/{len(distinct)} runs done, {left}: {study.title()} {study.key()}\n")
            yield Done(study, runs[study].path, value)


@contextmanager
def _driving(storage: Path) -> Iterator[Path]:
    """A lease that says this process is alive: its tasks end with it."""
    folder = storage / ".drivers" / uuid.uuid4().hex[:12]
    lease = Lease.claim(folder)
    lease.keep()
    try:
        yield folder
    finally:
        lease.release()
        shutil.rmtree(folder, ignore_errors=True)


@ray.remote(max_retries=3)
def _work(parcel: Parcel, driver: str) -> Any:
    import torch

    torch.set_num_threads(1)
    run, work = unpack(parcel)
    with exit_when_lapsed(Path(driver), 1):
        wait_for_lapse(run.path / "lease")  # an orphan of an earlier driver ends by itself
        with lending_from(run.storage):
            return work(run)
