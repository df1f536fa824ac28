"""One run on several workers: Ray Train places them, joins them and restarts them; the run directory keeps the state.

Every worker loads the checkpoint that rank 0 found newest and whole, draws its rows of the global batch, and averages
gradients with the others. Rank 0 alone holds the lease, writes the journal and saves. When a worker dies, Ray starts
the group again, and it resumes from the newest checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genlib
from cluster import carrying, copies
from cluster.directory import DRIVER, Result
from cluster.files import Damaged, RunFailed, read_json, write_json
from cluster.journal import Journal
from cluster.lease import Lease, exit_when_lapsed, refuse_held, wait_for_lapse
from cluster.needs import lending_from
from cluster.parcel import pack, unpack
from cluster.run import Run
from cluster.states import Origin
from cluster.storage import open_storage
from genlib import Diverged, InputError, Launch, Study
from genlib.checkpoint import load_checkpoint
from genlib.own import importable

NOTHING = -1
TRIES = 3
"""Restarts without any progress after which a run has failed."""
RESTARTS = 20
"""Restarts of any kind, after which Ray gives up."""


@dataclass(frozen=True)
class Workers:
    """How many workers a run has, and what each of them gets."""

    least: int = 1
    most: int = 1
    cpus: float = 1
    gpus: float = 0

    def check(self, study: Study[Any]) -> None:
        """Refuse a study whose batch they cannot share."""
        for count in range(self.least, self.most + 1):
            if study.batch_size % count:
                raise InputError(
                    f"a global batch of {study.batch_size} cannot be split over {count} workers: make it a multiple."
                )

    def __str__(self) -> str:
        return str(self.most) if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Task:
    """What every worker of a run is told."""

    study: Study[Any]
    storage: Path
    sweep: str | None
    origin: Origin | None
    looks: tuple[Study[Any], ...]
    figures: bool
    evaluation: bool
    any_device: bool
    precision: Any
    compile: bool
    drivers: dict[str, int]


def execute_with_workers(
    run: Run,
    workers: Workers,
    launch: Launch | None = None,
    *,
    looks: Sequence[Study[Any]] = (),
    figures: bool = True,
    evaluation: bool = True,
    any_device: bool = False,
) -> Result:
    """Train and evaluate a run under Ray Train, inside the session that is open. Returns how it ended."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from cluster.session import probe_storage

    workers.check(run.study)
    looks = tuple(looks) or (run.study,)
    if run.known(looks if evaluation else (), figures=figures) is not None:
        return run.result()
    launch = launch or Launch()
    probe_storage(open_storage(run.storage))
    # Workers of a driver that was killed end by themselves.
    wait_for_lapse(run.path / "lease", run.path / DRIVER, seconds=30)
    refuse_held(run.path / "lease")
    lease = Lease.claim(run.path / DRIVER, drivers=run.drivers, force=run.taking_over)
    lease.keep()
    run.drivers[DRIVER] = lease.epoch
    tries = run.path / DRIVER / "tries.json"
    tries.unlink(missing_ok=True)
    task = Task(
        importable(run.study), run.storage, run.sweep, run.origin, tuple(map(importable, looks)), figures, evaluation,
        any_device,
        launch.precision, launch.compile, run.drivers,
    )  # fmt: skip
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    count: Any = workers.most if workers.least == workers.most else (workers.least, workers.most)
    with tempfile.TemporaryDirectory(prefix="genlib-train-") as scratch:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"parcel": pack(task)},
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=count,
                use_gpu=bool(workers.gpus),
                resources_per_worker={"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {}),
            ),
            run_config=RunConfig(
                name=run.key, storage_path=scratch, failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            run.take_and_mark("FAILED", f"Ray gave the workers up: {str(error).splitlines()[-1]}")
        finally:
            with suppress(OSError):
                carrying.settle(run.path)
            failed = _failure(run)
            lease.release()
            if failed and not (run.path / "study.json").exists():  # it was refused, and has left nothing else
                shutil.rmtree(run.path)
                copies.drop(run.path)
    result = run.result()
    if failed and result.status != "FAILED":
        raise InputError(failed)  # refused: nothing has changed
    return result


def _work(config: dict[str, Any]) -> None:
    """One worker, from the newest checkpoint to the end. An error that would come again is recorded: no restart."""
    import ray.train
    import ray.train.torch
    import torch

    torch.set_num_threads(1)
    task: Task = unpack(config["parcel"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    launch = Launch(str(ray.train.torch.get_device()), task.precision, task.compile, rank, world)
    drivers = task.drivers
    run = Run(task.study, task.storage, sweep=task.sweep, origin=task.origin, drivers=drivers, taking_over=True)
    with exit_when_lapsed(run.path / DRIVER, drivers[DRIVER]), lending_from(run.storage):
        try:
            with run.claimed(launch) if rank == 0 and not _failure(run) else nullcontext():
                _train(run, task, launch)
        except Diverged:  # on every worker at once
            return
        except InputError as error:
            if rank == 0:
                with suppress(OSError):  # a full disk: then Ray's own count ends it
                    told = {"failed": str(error), "driver": drivers[DRIVER]}
                    write_json(run.path / DRIVER / "tries.json", told)
                    copies.share(run.path / DRIVER / "tries.json")
            if world > 1:
                raise  # ends the others, who wait for this one; the next group sees that it has failed, and leaves
        except _Left:
            return


class _Left(Exception):
    """Rank 0 has nothing to train."""


def _train(run: Run, task: Task, launch: Launch) -> None:
    state, journal = _agreed_state(run, task, launch), None
    if launch.rank == 0:
        journal = Journal(run.path / "journal", run.lease, device=launch.kind, workers=launch.world)
    for progress in genlib.train(run.study, state, launch=launch):
        if journal is not None:
            run.keep(progress, journal)
    if journal is not None:
        run.conclude(run.finished(state, launch), task.looks, figures=task.figures, evaluation=task.evaluation)


def _agreed_state(run: Run, task: Task, launch: Launch) -> genlib.State:
    """The state that rank 0 resumes from, on every rank."""
    import torch.distributed as distributed

    step: list[int] = [NOTHING]
    state = None
    try:
        if launch.rank == 0 and not _failure(run):
            run.states.refuse_other_device(launch, task.any_device)
            state = run.states.newest(launch)
            _count_tries(run, state.step)
            if carrying.unit_of(run.lease.folder):
                carrying.CARRIER.now(run.path)  # where the others find the state
            step = [state.step]
    finally:
        if launch.world > 1:
            distributed.broadcast_object_list(step, src=0)
    if step[0] == NOTHING:
        raise _Left
    if state is not None:
        return state
    carrying.settle_patiently(run.path, whole=True)
    folder = run.path / "checkpoints" / f"step-{step[0]:08d}"
    if step[0] and not (run.origin and step[0] == run.origin.step):
        return load_checkpoint(folder, run.study, launch)  # fails where this node does not see the storage
    return run.states.newest(launch) if run.origin else genlib.start(run.study, launch)


def _failure(run: Run) -> str:
    """The error that ended rank 0 in an earlier try under the same driver; empty where there is none."""
    return str(_told(run).get("failed", ""))


def _told(run: Run) -> dict[str, Any]:
    """What rank 0 left behind in an earlier try under the same driver."""
    try:
        told = read_json(run.path / DRIVER / "tries.json")
    except (FileNotFoundError, Damaged):
        return {}
    return told if told.get("driver") == run.drivers.get(DRIVER) else {}


def _count_tries(run: Run, step: int) -> None:
    """Give up where the group starts from the same step again and again."""
    known = _told(run)
    count = known.get("count", 0) + 1 if known.get("step") == step else 0
    path = run.path / DRIVER / "tries.json"
    write_json(path, {"step": step, "count": count, "driver": run.drivers[DRIVER]})
    if count > TRIES:
        raise RunFailed(
            f"the workers of {run.path} died {count} times from step {step} on without any progress: "
            "look for what kills them (memory?), then give the same command again."
        )
