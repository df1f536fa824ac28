"""What would run, before anything does: how many at once, for how long, and whether it can be placed at all."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import genlib
from cluster.courses import saved_updates
from cluster.project import ROOT
from cluster.words import bytes_in_words, words
from cluster.workers import Workers
from genlib import InputError, Launch, Study
from genlib.memory import memory_of
from genlib.needs import lending, untrained

PROBE = 1.0
"""Seconds that a probe takes, about."""
LARGEST_UPLOAD = 100 * 2**20
"""Bytes that Ray's dashboard takes as a working directory."""
TIGHT = "memory holds no larger ones"


class Shared(NamedTuple):
    """Runs that pass through shorter ones, and how many of all updates need not be computed again for that."""

    runs: int = 0
    saved: int = 0
    updates: int = 0

    @classmethod
    def of(cls, studies: Sequence[Study[Any]]) -> Shared:
        """What some studies share."""
        saved = saved_updates(studies)
        return cls(len(saved), sum(saved.values()), sum(study.steps for study in dict.fromkeys(studies)))


@dataclass(frozen=True)
class Plan:
    """What would run: the runs, what each needs, and what the machine or the cluster has."""

    runs: int
    looks: int
    workers: Workers
    have: dict[str, float]
    seconds: float
    """Seconds of the training that is left, one run after the other."""
    needs: tuple[str, ...] = ()
    """Studies that are trained first where the storage has none yet: the runs work with their models."""
    shared: Shared = Shared()
    """What runs have in common with shorter ones."""
    done: int = 0
    """Number of the runs whose training the storage has already."""
    packs: tuple[int, ...] = ()
    """Sizes of the packs whose runs are trained as one."""
    tight: bool = False
    """Whether memory holds no larger packs."""

    @property
    def at_once(self) -> int:
        """Number of runs that fit side by side."""
        need = {"CPU": self.workers.cpus * self.workers.least, "GPU": self.workers.gpus * self.workers.least}
        fits = [int(self.have[kind] / amount) for kind, amount in need.items() if amount]
        return min([self.runs, *fits]) if fits else self.runs

    def check(self) -> Plan:
        """Refuse runs that cannot be placed."""
        for kind, each in (("CPU", self.workers.cpus), ("GPU", self.workers.gpus)):
            need, have = each * self.workers.least, self.have[kind]
            if need > have:
                raise InputError(
                    f"a run needs {need:g} {kind}s ({self.workers.least} workers with {each:g} each), and there "
                    f"{'is' if have == 1 else 'are'} {have:g}: ask for fewer, or use a larger cluster."
                )
        return self

    def _packed(self) -> list[str]:
        if not self.packs:
            return []
        sizes = sorted(set(self.packs))
        each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        tight = f"; {TIGHT}" if self.tight else ""
        return [f"packs:    {len(self.packs)} of {each} runs, each trained as one{tight}"]

    def lines(self) -> list[str]:
        """The plan in words."""
        each = f"{self.workers} worker{'s' * (self.workers.most > 1)}, {self.workers.cpus:g} CPU each"
        each += f", {self.workers.gpus:g} GPU each" if self.workers.gpus else ""
        size = upload_bytes()
        large = "; too large for `ray job submit`, which takes 100 MiB" if size > LARGEST_UPLOAD else ""
        first = [f"first:    {', '.join(self.needs)}, where the storage has none yet"] if self.needs else []
        done = f"; of {self.done} the training is done" if self.done else ""
        passing = []
        if self.shared.runs:
            many = "runs pass" if self.shared.runs > 1 else "run passes"
            passing = [
                f"shared:   {self.shared.runs} {many} through shorter ones, which saves "
                f"{self.shared.saved:,} of {self.shared.updates:,} updates"
            ]
        return [
            *first,
            f"runs:     {self.runs}, each evaluated {self.looks} time{'s' * (self.looks != 1)}{done}",
            *passing,
            *self._packed(),
            f"each:     {each}",
            f"there is: {self.have['CPU']:g} CPUs, {self.have['GPU']:g} GPUs: {self.at_once} at once",
            f"training: about {words(self.seconds / max(1, self.at_once))} "
            f"({words(self.seconds)} one after the other; evaluations come on top)",
            f"upload:   {size / 2**20:.1f} MiB as a Ray job's working directory{large}",
        ]


def refuse_too_large(study: Study[Any], device: str = "cpu", workers: Workers | None = None) -> None:
    """Raise where a study asks for more memory than this machine has; on a cluster, its nodes have to say."""
    if "RAY_ADDRESS" in os.environ:
        return
    asked = memory_of(study)
    asked["batch_size"] /= (workers or Workers()).least  # each worker has its part of the batch
    part, need = max(asked.items(), key=lambda one: one[1])
    have = memory_left(device)
    if need > have:
        where = "this machine" if device == "cpu" else device
        remedy = "ask for a smaller model" if part == "the weights" else f"lower {part}"
        raise InputError(
            f"{type(study).__name__} needs at least {bytes_in_words(need)} for {part}, and {where} has "
            f"{bytes_in_words(have)} left: {remedy}."
        )


def memory_left(device: str = "cpu") -> float:
    """Bytes of memory that are free on a device, as far as this process may use them."""
    if device.startswith("cuda"):
        import torch

        index = torch.device(device).index or 0
        there = torch.cuda.is_available() and index < torch.cuda.device_count()
        return float(torch.cuda.mem_get_info(index)[0]) if there else float("inf")
    return min(float(psutil.virtual_memory().available), *(map(_left_in_container, CONTAINERS)))


CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where the two kinds of control groups say how much memory a container may have, and has."""


def _left_in_container(place: tuple[Path, str, str]) -> float:
    """Bytes that a container has left; what only caches files counts as free."""
    folder, limit, used = place
    try:
        taken = float((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cached = float(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
        return float((folder / limit).read_text()) - taken + cached
    except (OSError, ValueError):  # no container, or no limit ("max")
        return float("inf")


def probe(studies: Sequence[Study[Any]], launch: Launch | None = None) -> float:
    """Seconds to train all of these studies, estimated from a few updates of some of them."""
    rates: dict[tuple[Any, ...], float] = {}
    saved = saved_updates(studies)
    total = 0.0
    for study in studies:
        shape = tuple(
            v for k, v in study.fields().items() if k in ("batch_size", "width", "depth", "density", "classes")
        )
        if shape not in rates and len(rates) < 4:
            with lending(untrained):
                rates[shape] = _seconds_per_update(study, launch)
        total += (study.steps - saved.get(study, 0)) * rates.get(shape, max(rates.values()))
    return total


def _seconds_per_update(study: Study[Any], launch: Launch | None) -> float:
    short = replace(study, log_every=1, validate_every=10**9)
    progress = genlib.train(short, launch=launch)
    next(progress, None)  # the first update warms up
    began, updates = time.monotonic(), 0
    for _ in progress:
        updates += 1
        if time.monotonic() - began > PROBE or updates >= 50:
            break
    progress.close()
    return (time.monotonic() - began) / max(1, updates)


def upload_bytes(root: Path = ROOT) -> int:
    """Bytes that a Ray job uploads of the working directory: of all files but those that the ignore files name."""
    from pathspec import GitIgnoreSpec

    lines = [".git/"]
    for name in (".gitignore", ".rayignore"):
        if (root / name).exists():
            lines += (root / name).read_text().splitlines()
    ignored = GitIgnoreSpec.from_lines(lines)
    total = 0
    for folder, folders, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not ignored.match_file(f"{inside / name}/")]
        total += sum((Path(folder) / name).stat().st_size for name in files if not ignored.match_file(inside / name))
    return total
