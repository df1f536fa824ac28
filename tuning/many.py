"""Many runs at once, without a search: a Ray task per run, results as they come."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ray

from cluster import carrying, copies
from cluster.courses import passed_by
from cluster.files import RunFailed, Stopped
from cluster.lease import Lease, exit_when_lapsed, wait_for_lapse
from cluster.needs import is_trained, lending_from, needs_of, train_need
from cluster.packs import execute_pack
from cluster.parcel import Parcel, pack, unpack
from cluster.plan import Plan
from cluster.run import Run
from cluster.session import available, probe_storage, ray_session
from cluster.stopping import on_stop, stop_runs
from cluster.storage import open_storage
from cluster.workers import Workers
from genlib import Study
from genlib.own import importable, refuse_while_importing
from tuning.folder import SweepFolder
from tuning.packs import packing_of, say_where_tight


class Task(NamedTuple):
    """A run to be done, or several to be trained as one, and what comes before."""

    path: Path
    """What others know it by: the run's directory, or a name."""
    runs: tuple[Run, ...]
    work: Callable[[Run], Any] | None
    """What is done with the run; None where runs are trained as one."""
    after: frozenset[Path]
    """Tasks that train the models it needs, whose states it passes through, or that train it in a pack."""
    is_wanted: bool = True
    """Whether it was asked for; else others need what it does."""


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
    packs: bool = True,
) -> Iterator[Done]:
    """Do `work` on every distinct run, in parallel; yield each as it ends. A failure stops the rest.

    Arguments:
        gathered: the folder where all runs go, instead of one for each study.
        evaluated: whether `work` evaluates the runs, for which they may need models that training does without.
        packs: whether runs that differ only in numbers may train as one first, where that pays.
    """
    refuse_while_importing()
    workers = workers or Workers()
    distinct = list(dict.fromkeys(map(importable, studies)))
    for study in distinct:
        workers.check(study)
    Plan(len(distinct), 1, workers, available(cpus), 0.0).check()
    storage = open_storage(copies.located(storage))
    number = uuid.uuid4().hex[:12]
    drivers = gathered.drivers if gathered else {number: 1}
    sweep = gathered.path.name if gathered else None
    runs = {study: Run(study, storage, sweep=sweep, drivers=drivers) for study in distinct}
    running: dict[Any, Task] = {}

    def settle(name: str) -> None:
        stop_runs([run for task in list(running.values()) for run in task.runs], name)
        if gathered:
            gathered.settle(name)

    packed = packs and workers.most == 1 and not workers.gpus

    def prepare() -> None:
        if packed:
            packing_of([run.study for run in _untrained(runs.values())], 1)  # which times them

    with (
        ray_session(cpus, meanwhile=prepare),
        on_stop(settle),
        _driving(storage, number) as driver,
    ):
        probe_storage(storage)
        at_once = Plan(len(distinct), 1, workers, available(cpus), 0.0).at_once
        waiting, stopped = _tasks(runs, work, storage, evaluated=evaluated), list[Task]()
        if packed:
            waiting = _with_packs(waiting, at_once)
        while waiting or running:
            unfinished = {task.path for task in (*waiting, *running.values(), *stopped)}
            ready = [task for task in waiting if not task.after & unfinished]
            for task in ready:  # of looks at one run, one goes first, and the others find it trained
                if len(running) == at_once or task.path in {other.path for other in running.values()}:
                    continue
                waiting.remove(task)
                needs = {"num_cpus": workers.cpus if workers.most == 1 else 0, "num_gpus": workers.gpus}
                running[_work.options(**needs).remote(pack((task.runs, task.work)), str(driver))] = task
            if not running:
                break  # the others wait for some that were stopped
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(done)
            for run in task.runs:
                carrying.settle_patiently(run.path)
            try:
                value, was_stopped = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if task.work is None:
                    continue  # its runs go on alone, and say what is wrong
                raise error.cause from None  # the sentence itself, not the remote traceback
            except ray.exceptions.RayError as error:
                if task.work is None:
                    continue  # its runs go on alone
                raise RunFailed(f"the process of {task.path} died (memory?): {error}") from error
            if task.work is None:  # members that were asked to stop are not gone on with
                stopped += [other for other in waiting if other.path in value]
                waiting = [other for other in waiting if other.path not in value]
            elif was_stopped:  # it was asked to, and so is this process, which waits for the others
                stopped.append(task)
            elif task.is_wanted:
                yield Done(task.runs[0].study, task.path, value)
        if stopped:
            raise Stopped(f"{len(stopped)} runs were asked to stop, and kept their states: the same command goes on")


def _tasks(runs: dict[Study[Any], Run], work: Callable[[Run], Any], storage: Path, *, evaluated: bool) -> list[Task]:
    """The runs that are wanted, after those whose models they need and that are neither wanted nor there."""
    needed = {
        study: [Run(need, storage, drivers=run.drivers) for need in needs_of([study], evaluated=evaluated)]
        for study, run in runs.items()
    }
    extra = {run.path: run for needs in needed.values() for run in needs}
    for run in runs.values():
        extra.pop(run.path, None)
    tasks = [_task(run, train_need, _before(run, runs), False) for run in extra.values() if not is_trained(run)]
    wanted = [_task(run, work, _before(run, runs) | {need.path for need in needed[one]}) for one, run in runs.items()]
    there = {task.path for task in (*tasks, *wanted)}
    return [task._replace(after=task.after & there) for task in (*tasks, *wanted)]


def _task(run: Run, work: Callable[[Run], Any], after: frozenset[Path], is_wanted: bool = True) -> Task:
    return Task(run.path, (run,), work, after, is_wanted)


def _with_packs(tasks: list[Task], at_once: int) -> list[Task]:
    """Tasks that train runs as one, before those that do the rest with each of them."""
    untrained = _untrained(task.runs[0] for task in tasks if task.is_wanted)
    runs = {run.study: run for run in untrained}
    packs: list[Task] = []
    before: dict[Path, Path] = {}
    packing = packing_of(runs, at_once)
    say_where_tight(packing)
    for stage in packing.stages:
        earlier = frozenset(task.path for task in packs)
        for members in stage:
            place = Path(f"pack {len(packs)}")
            packs.append(Task(place, tuple(runs[study] for study in members), None, earlier, False))
            before |= {runs[study].path: place for study in members}
    after = {task.path: task.after | {before[task.path]} for task in tasks if task.path in before}
    return [*packs, *(task._replace(after=after.get(task.path, task.after)) for task in tasks)]


def _untrained(runs: Iterable[Run]) -> list[Run]:
    """Those that are to be trained; of several looks at one run, the first."""
    first: dict[Path, Run] = {}
    for run in runs:
        first.setdefault(run.path, run)
    return [run for run in first.values() if run.result().status not in ("FINISHED", "FAILED")]


def _before(run: Run, runs: dict[Study[Any], Run]) -> frozenset[Path]:
    """The runs whose states a run passes through."""
    return frozenset(runs[study].path for study in passed_by(run.study, runs)) - {run.path}


@contextmanager
def _driving(storage: Path, number: str) -> Iterator[Path]:
    """A lease that says this process is alive: its tasks end with it."""
    folder = storage / ".drivers" / number
    lease = Lease.claim(folder)
    lease.keep()
    try:
        yield folder
    finally:
        lease.release()
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            copies.drop(folder)


@ray.remote(max_retries=3)
def _work(parcel: Parcel, driver: str) -> tuple[Any, bool]:
    """What came of a run, and whether it was asked to stop instead; of a pack, the members that were."""
    import torch

    torch.set_num_threads(1)
    runs, work = unpack(parcel)
    with exit_when_lapsed(Path(driver), 1):
        wait_for_lapse(*(run.path / "lease" for run in runs))  # an orphan of an earlier driver ends by itself
        if work is None:
            outcomes = execute_pack(runs, evaluation=False)
            return [outcome.run.path for outcome in outcomes if isinstance(outcome.error, Stopped)], False
        with lending_from(runs[0].storage):
            try:
                return work(runs[0]), False
            except Stopped:
                return None, True
