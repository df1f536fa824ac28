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
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from cluster import carrying
from cluster.courses import saved_updates
from cluster.journal import read_rows
from cluster.lease import Lease, ask_to_stop, exit_when_lapsed, wait_for_lapse
from cluster.packs import execute_pack
from cluster.parcel import Parcel, pack, unpack
from cluster.plan import TIGHT, Plan, memory_left, probe
from cluster.run import Run
from genlib import Diverged, Launch, Progress, Study, train
from genlib.memory import memory_of
from genlib.packs import shape_of, train_pack
from genlib.training import one_thread

LEAST = 3
"""Fewest runs that are packed."""
SIZES = (4, 8, 32, 128)
"""Sizes of packs that are tried."""
QUARTER = 4
"""One in so many goes on at a halving."""
SHORT = 3.0
"""Seconds: what trains sooner alone, all in all, is not worth a probe."""
WORTH = 1.3
"""How many times faster a pack has to be."""
ALIKE, SLOWER = 1.1, 1.3
"""How many times as long as the fastest a size may take to be as good, and to be the last one tried."""
PROBE = 0.1
"""Seconds that a size is timed."""
PATIENCE = 30.0
"""Seconds that members have to keep what they have when the time is over."""


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

    def planned(self, plan: Plan, studies: Sequence[Study[Any]]) -> Plan:
        """A plan to train these studies, with what is trained as one, and how long all of it takes."""
        packed = {study for members in self.packs for study in members}
        seconds = self.seconds + probe([study for study in studies if study not in packed])
        return replace(plan, seconds=seconds, packs=tuple(map(len, self.packs)), tight=self.tight)


class Probe(NamedTuple):
    """What a probe of packs found."""

    size: int
    """The size that trains fastest; 1 for none."""
    seconds: float
    """Seconds of a member's update in it."""
    least: int = 1
    """The smallest size that pays."""


def packing_of(studies: Iterable[Study[Any]], at_once: int, *, device: str = "cpu") -> Packing:
    """Which of some studies train as one, so that all processes have something to do.

    Studies that pass through shorter ones wait for these; those with needs train alone.
    """
    if not is_here(device):
        return Packing()  # and could not be timed
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
        room = most_in_memory(members[0], at_once, device)
        wanted = min(len(members), SIZES[-1])
        if min(wanted, room) < LEAST:
            continue
        found = probe_packs(members[0], min(wanted, room), sum(study.steps for study in members), device)
        tight |= room < min(wanted, math.ceil(len(members) / at_once))
        if found.size < LEAST:
            continue
        seconds += found.seconds * sum(study.steps for study in members)
        asked_for = max(at_once, math.ceil(len(members) / found.size))
        number = max(math.ceil(len(members) / room), min(asked_for, len(members) // found.least))
        stages[steps] += [tuple(members[place::number]) for place in range(number)]
    return Packing(tuple(tuple(stage) for stage in stages.values()), seconds, tight)


@cache
def probe_packs(study: Study[Any], count: int, updates: int, device: str = "cpu") -> Probe:
    """The size of packs whose members train fastest, of nearly equal ones the largest: fewer packs have less around
    them. 1 where training alone is nearly as fast.

    Arguments:
        study: one of the studies that fit together.
        count: the most of them that may train as one.
        updates: the updates of all of them.
    """
    alone, launch = 0.0, Launch(device=device)
    try:
        with one_thread():
            alone = seconds_per_update([study], launch)
            if alone * updates < SHORT:
                return Probe(1, alone)
            taken: dict[int, float] = {}
            for size in dict.fromkeys(min(size, count) for size in SIZES):
                taken[size] = seconds_per_update([replace(study, seed=seed) for seed in range(size)], launch)
                if taken[size] > SLOWER * min(taken.values()) or (taken[size] * WORTH > alone and size > SIZES[1]):
                    break
    except Exception as error:  # whatever it is, it says so where it trains, to whom it concerns
        sys.stderr.write(f"{study.title()} cannot be timed as a pack ({type(error).__name__}), and trains alone.\n")
        return Probe(1, alone)
    pays = [size for size, seconds in taken.items() if seconds * WORTH <= alone]
    if not pays:
        return Probe(1, alone)
    size = max(size for size in pays if taken[size] <= ALIKE * min(taken.values()))
    return Probe(size, taken[size], pays[0])


def is_here(device: str) -> bool:
    """Whether this process has a device of this kind; the driver of a cluster need not."""
    return not device.startswith("cuda") or torch.cuda.is_available()


def seconds_per_update(studies: Sequence[Study[Any]], launch: Launch) -> float:
    """Seconds that an update takes a study that trains alone, or a member in a pack of several.

    On a CPU they are this thread's own seconds, and of the fastest update: Ray, which starts meanwhile, uses the cores.
    """
    # At a rate at which none diverges, for the time does not depend on it.
    endless = [replace(study, steps=10**9, log_every=1, validate_every=10**9, learning_rate=1e-6) for study in studies]
    progress: Any = train_pack(endless, launch=launch) if len(studies) > 1 else train(endless[0], launch=launch)
    next(progress)  # warms up
    clock = time.thread_time if launch.kind == "cpu" else time.perf_counter
    times = [clock()]
    while times[-1] - times[0] < PROBE:
        next(progress)
        times.append(clock())
    progress.close()
    return min(after - before for before, after in pairwise(times)) / len(studies)


def most_in_memory(study: Study[Any], at_once: int, device: str = "cpu") -> int:
    """How many members every one of several packs has room for, in half of the memory that is left."""
    asked = memory_of(study)
    one, other = (replace(study, seed=seed).data().train for seed in range(2))
    own = sum(one[name].nbytes for name in one if one[name] is not other[name])  # data that depend on the seed
    return int(memory_left(device) / 2 / at_once / max(1.0, asked["the weights"] + asked["batch_size"] + own))


def say_where_tight(packing: Packing) -> None:
    """Say that packs are smaller than they were to be."""
    if packing.tight:
        sizes = [len(members) for members in packing.packs]
        many = f"packs of at most {max(sizes)} runs" if sizes else "no packs"
        sys.stderr.write(f"{many}: {TIGHT}\n")


class Halving:
    """Ends members of a pack early: at updates that rise fourfold from the first validation on, all but those among the
    best quarter of the sweep's runs that have come so far. It is what ASHA does, for members that move in step.
    """

    def __init__(self, sweep: Path, longest: int) -> None:
        self.sweep, self.longest = sweep, longest

    def __call__(self, reports: dict[Run, Progress]) -> list[Run]:
        """Who ends early."""
        values: dict[Run, float] = {}
        for run, progress in reports.items():
            name, direction = run.study.objective
            if name in progress.metrics and self._is_rung(progress.step, run.study.validate_every):
                values[run] = _merit(progress.metrics[name], direction)
        if not values:
            return []
        (step,) = {reports[run].step for run in values}
        name, direction = next(iter(values)).study.objective
        others = self._others(step, name, {run.key for run in values})
        known = sorted([*values.values(), *(_merit(value, direction) for value in others)])
        last = known[math.ceil(len(known) / QUARTER) - 1]
        return [run for run, merit in values.items() if merit > last]

    def _others(self, step: int, name: str, reporting: set[str]) -> list[float]:
        """What the sweep's other runs had reached at an update, as their journals say."""
        paths = [path for path in self.sweep.iterdir() if path.name not in reporting and (path / "journal").exists()]
        for path in paths:
            with suppress(OSError):  # what the others had reached, as far as it is known here
                carrying.settle(path, within=10)
        rows = [row for path in paths for row in read_rows(path / "journal") if row["step"] == step]
        return [row["metrics"][name] for row in rows if name in row["metrics"]]

    def _is_rung(self, step: int, grace: int) -> bool:
        rung = grace
        while rung < min(step, self.longest):
            rung *= QUARTER
        return rung == step < self.longest


def _merit(value: float, direction: str) -> float:
    """A value of which less is better; what is no number is worst."""
    merit = value if direction == "min" else -value
    return merit if math.isfinite(merit) else math.inf


def train_packs(
    packing: Packing,
    run_of: Callable[[Study[Any]], Run],
    at_once: int,
    *,
    halving: Halving | None = None,
    driver: Lease,
    device: str = "cpu",
    gpus: float = 0,
    any_device: bool = False,
    seconds_left: Callable[[], float | None] = lambda: None,
    meanwhile: Callable[[], Any] | None = None,
) -> set[str]:
    """Train every pack; what befalls a member is in its directory. Returns the keys of those that diverged.

    Arguments:
        run_of: the run of a study.
        halving: who ends early, if anybody.
        driver: the lease that the tasks end with.
        seconds_left: asked now and then; at 0 members are asked to stop, and no pack begins any more.
        meanwhile: done once, while packs train.
    """
    diverged: set[str] = set()
    say_where_tight(packing)
    for stage in packing.stages:
        waiting = [[run_of(study) for study in members] for members in stage]
        running: dict[Any, list[Run]] = {}
        while waiting or running:
            while waiting and len(running) < at_once and seconds_left() != 0:
                runs = waiting.pop(0)
                parcel = pack((runs, halving, device, any_device))
                task = _trained.options(num_cpus=1, num_gpus=gpus).remote(parcel, str(driver.folder), driver.epoch)
                running[task] = runs
            if not running:
                break  # the time is over
            if meanwhile:
                meanwhile()
                meanwhile = None
            ended: list[Any] = ray.wait(list(running), num_returns=1, timeout=seconds_left())[0]
            if not ended:
                _stop(running)
            for task in ended:
                del running[task]
                with suppress(ray.exceptions.RayError):  # the pack failed, or its process died: the runs go on alone
                    diverged |= ray.get(task)
    return diverged


def _stop(running: dict[Any, list[Run]]) -> None:
    """Ask the members of packs to keep what they have, and give them time to."""
    for runs in running.values():
        for run in runs:
            with suppress(OSError):
                ask_to_stop(run.path / "lease")
    ray.wait(list(running), num_returns=len(running), timeout=PATIENCE)
    for task in running:
        ray.cancel(task, force=True)


@ray.remote(max_retries=1)
def _trained(parcel: Parcel, folder: str, epoch: int) -> set[str]:
    torch.set_num_threads(1)
    runs, halving, device, any_device = unpack(parcel)
    with exit_when_lapsed(Path(folder), epoch):
        wait_for_lapse(*(run.path / "lease" for run in runs))  # an orphan of an earlier driver ends by itself
        outcomes = execute_pack(runs, Launch(device=device), halving, evaluation=False, any_device=any_device)
    return {outcome.run.key for outcome in outcomes if isinstance(outcome.error, Diverged)}
