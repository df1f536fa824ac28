"""Packs: of many runs, those that differ only in numbers are trained as one, before whatever else is done with them.

Whether that pays is asked of the machine: a few updates of packs of rising size are timed. The training of a pack is a
Ray task of its own; afterwards its runs are trained runs, and are evaluated each by itself, side by side.
"""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ray

from cluster.courses import saved_updates
from cluster.lease import exit_when_lapsed, wait_for_lapse
from cluster.packs import execute_pack
from cluster.parcel import Parcel, pack, unpack
from cluster.plan import TIGHT, memory_left
from cluster.run import Run
from genlib import Launch, Progress, Study
from genlib.memory import memory_of
from genlib.packs import shape_of, train_pack

LEAST = 3
"""Fewest runs that are packed."""
SIZES = (8, 32, 128)
"""Sizes of packs that are tried."""
QUARTER = 4
"""One in so many goes on at a halving."""
SHORT = 3.0
"""Seconds: what trains sooner alone, all in all, is not worth a probe."""
WORTH = 1.3
"""How many times faster a pack has to be."""
PROBE = 0.2
"""Seconds that a size is timed."""


@dataclass(frozen=True)
class Packing:
    """Runs by packs: those of a pack train as one. Every pack of a stage waits for the stages before it."""

    stages: tuple[tuple[tuple[Study[Any], ...], ...], ...] = ()
    seconds: float = 0.0
    """Seconds of training all packs, one after the other."""
    tight: bool = False
    """Whether memory holds no larger packs."""

    @property
    def packs(self) -> list[tuple[Study[Any], ...]]:
        """All packs."""
        return [members for stage in self.stages for members in stage]


class Probe(NamedTuple):
    """What a probe of packs found: the size that trains fastest, 1 for none; and seconds of a member's update in it."""

    size: int
    seconds: float


def packing_of(studies: Iterable[Study[Any]], at_once: int, *, device: str = "cpu") -> Packing:
    """Which of some studies train as one, so that all processes have something to do.

    Studies that pass through shorter ones wait for these; those with needs train alone.
    """
    alike: dict[Any, list[Study[Any]]] = defaultdict(list)
    studies = list(dict.fromkeys(studies))
    staged = bool(saved_updates(studies))
    for study in studies:
        if study.can_pack() and not study.needs():
            alike[study.steps if staged else 0, shape_of(study)].append(study)
    stages: dict[int, list[tuple[Study[Any], ...]]] = defaultdict(list)
    seconds, tight = 0.0, False
    for (steps, _), members in sorted(alike.items(), key=lambda one: one[0][0]):
        if len(members) < LEAST:
            continue
        found = probe_packs(members[0], len(members), sum(study.steps for study in members), device)
        size = min(found.size, most_in_memory(members[0], at_once, device))
        tight |= size < min(found.size, math.ceil(len(members) / at_once))
        if size < LEAST:
            continue
        seconds += found.seconds * sum(study.steps for study in members)
        number = max(math.ceil(len(members) / size), min(at_once, len(members) // LEAST))
        stages[steps] += [tuple(members[place::number]) for place in range(number)]
    return Packing(tuple(tuple(stage) for stage in stages.values()), seconds, tight)


@cache
def probe_packs(study: Study[Any], count: int, updates: int, device: str = "cpu") -> Probe:
    """The size of packs whose members train fastest; 1 where training alone is nearly as fast.

    Arguments:
        study: one of the studies that fit together.
        count: how many they are.
        updates: the updates of all of them.
    """
    launch = Launch(device=device)
    alone = seconds_per_update([study], launch)
    best = Probe(1, alone)
    if alone * updates < SHORT:
        return best
    for size in SIZES:
        if size >= 4 * count:
            break
        taken = seconds_per_update([replace(study, seed=seed) for seed in range(min(size, count))], launch)
        if taken * (WORTH if best.size == 1 else 1.05) > best.seconds:
            break
        best = Probe(size, taken)
    return best


def seconds_per_update(studies: Sequence[Study[Any]], launch: Launch) -> float:
    """Seconds that an update of a member takes in a pack of these studies."""
    endless = [replace(study, steps=10**9, log_every=1, validate_every=10**9) for study in studies]
    progress = train_pack(endless, launch=launch)
    next(progress)  # warms up
    began, updates = time.perf_counter(), 0
    while time.perf_counter() - began < PROBE or not updates:
        next(progress)
        updates += 1
    taken = (time.perf_counter() - began) / updates
    progress.close()
    return taken / len(studies)


def most_in_memory(study: Study[Any], at_once: int, device: str = "cpu") -> int:
    """How many members every one of several packs has room for, in half of the memory that is left."""
    asked = memory_of(study)
    return int(memory_left(device) / 2 / at_once / max(1.0, asked["the weights"] + asked["batch_size"]))


def say_where_tight(packing: Packing) -> None:
    """Say that packs are smaller than they were to be."""
    if packing.tight:
        sizes = [len(members) for members in packing.packs]
        many = f"packs of at most {max(sizes)} runs" if sizes else "no packs"
        sys.stderr.write(f"{many}: {TIGHT}\n")


class Halving:
    """Ends members of a pack early: at updates that rise fourfold from the first validation on, all but the best
    quarter of those that have come so far. It is what ASHA does, for members that move in step.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def __call__(self, reports: dict[Run, Progress]) -> list[Run]:
        """Who ends early."""
        values: dict[Run, float] = {}
        for run, progress in reports.items():
            name, direction = run.study.objective
            if name in progress.metrics and self._is_rung(progress.step, run.study.validate_every):
                values[run] = progress.metrics[name] if direction == "min" else -progress.metrics[name]
        best = sorted(values, key=values.__getitem__)
        return best[math.ceil(len(best) / QUARTER) :]

    def _is_rung(self, step: int, grace: int) -> bool:
        rung = grace
        while rung < min(step, self.longest):
            rung *= QUARTER
        return rung == step < self.longest


def train_packs(
    packing: Packing,
    run_of: Callable[[Study[Any]], Run],
    at_once: int,
    *,
    halving: Halving | None = None,
    driver: tuple[Path, int],
    device: str = "cpu",
    gpus: float = 0,
    any_device: bool = False,
) -> None:
    """Train every pack; what befalls a member is in its directory.

    Arguments:
        run_of: the run of a study.
        halving: who ends early, if anybody.
        driver: the lease that the tasks end with: its folder and epoch.
    """
    say_where_tight(packing)
    for stage in packing.stages:
        waiting = [pack(([run_of(study) for study in members], halving, device, any_device)) for members in stage]
        running: list[Any] = []
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(
                    _trained.options(num_cpus=1, num_gpus=gpus).remote(waiting.pop(0), str(driver[0]), driver[1])
                )
            done, running = ray.wait(running, num_returns=1)
            with suppress(ray.exceptions.RayError):  # its process died: the runs go on alone
                ray.get(done)


@ray.remote(max_retries=1)
def _trained(parcel: Parcel, folder: str, epoch: int) -> None:
    import torch

    torch.set_num_threads(1)
    runs, halving, device, any_device = unpack(parcel)
    with exit_when_lapsed(Path(folder), epoch):
        for run in runs:
            wait_for_lapse(run.path / "lease")  # an orphan of an earlier driver ends by itself
        execute_pack(runs, Launch(device=device), halving, evaluation=False, any_device=any_device)
