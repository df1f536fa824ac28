"""The options of every script that launches runs: where and how to run. None of them changes what a run is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cluster.mirror import refuse_unusable, start_mirror, trouble, ui_lines
from cluster.needs import needs_of
from cluster.plan import Plan, refuse_too_large
from cluster.run import Run, start_anew
from cluster.storage import carry_what_was_left, open_storage, refuse_unusable_storage, storage_from
from cluster.workers import Workers
from experiments.command.console import print_lines
from genlib import InputError, Launch
from genlib.training import known_device


@dataclass(frozen=True)
class Options:
    """Where and how to run; none of it changes the result's identity."""

    storage: Path | None = None
    """Folder where runs are kept: the same study there is the same run, and resumes. [GENLIB_STORAGE, else ./runs]"""
    workers: str = "1"
    """Number of processes that share each run's batches: N, or MIN:MAX where Ray may change it."""
    device: str = "cpu"
    """Torch device to train on; with `cuda` every worker has a GPU."""
    tracking: str = ""
    """Address of MLflow, or `none` to mirror nothing. [MLFLOW_TRACKING_URI, else a SQLite file in the storage]"""
    plan: bool = False
    """Say what would run, where and for how long, and stop."""
    fresh: bool = False
    """Begin anew; what is there already is moved aside."""
    any_device: bool = False
    """Continue on another kind of device than the run began on; the bits will differ."""
    json: bool = False
    """End with one JSON object on standard output, and write all else to standard error."""
    verbose: bool = False
    """Show what Ray and its processes write."""

    @property
    def root(self) -> Path:
        """The storage folder."""
        return storage_from(self.storage)

    @property
    def launch(self) -> Launch:
        """The device of a run in one process."""
        return Launch(device=self.device)

    def check(self) -> None:
        """Refuse what cannot work, before anything is begun or planned."""
        known_device(self.device)
        refuse_unusable_storage(self.root)

    @property
    def group(self) -> Workers:
        """The workers of one run."""
        least, _, most = self.workers.partition(":")
        if not (least.isdigit() and (most or least).isdigit()) or not 1 <= int(least) <= int(most or least):
            raise InputError(f"--workers: got {self.workers!r}; allowed is a number, or MIN:MAX, of at least 1.")
        return Workers(int(least), int(most or least), gpus=float(self.device.startswith("cuda")))

    @property
    def console(self) -> Console:
        """Where tables go: standard output, or standard error where standard output is for JSON."""
        return Console(stderr=self.json, width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True)
class ManyOptions(Options):
    """Where and how to run many runs."""

    packs: bool = True
    """Whether runs that differ only in numbers may train as one, where that pays."""

    @property
    def may_pack(self) -> bool:
        """Whether runs of a gathering may train as one: on a CPU."""
        return self.packs and self.device == "cpu"


def begin(options: Options) -> None:
    """Open the storage and start the mirror, or refuse what cannot work."""
    if options.tracking:
        os.environ["MLFLOW_TRACKING_URI"] = options.tracking
    warning = refuse_unusable(options.root)
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and "MLFLOW_TRACKING_URI" not in os.environ:
        sys.stderr.write("MLFLOW_TRACKING_URI is not set: the mirror is a SQLite file in the storage.\n")
    if warning:
        sys.stderr.write(f"{warning}\n")
    carry_what_was_left(open_storage(options.root))
    start_mirror(options.root)


def only_planned(options: ManyOptions, runs: Sequence[Run]) -> bool:
    """For scripts of many runs: show the plan and return True; or begin, anew where wanted, and return False."""
    from cluster.session import available
    from tuning.packs import Packing, packing_of

    options.check()
    studies = [run.study for run in runs]
    for study in studies:
        options.group.check(study)
        refuse_too_large(study, options.device, options.group)
    unfinished = [run.study for run in runs if run.result().status != "FINISHED"]
    needed = tuple(study.title() for study in needs_of(studies))
    done = len(runs) - len(unfinished)
    plan = Plan(len(runs), 1, options.group, available(), 0.0, needed, done=done).check()
    if options.plan:
        packing = packing_of(unfinished, plan.at_once) if options.may_pack else Packing()
        plan = packing.planned(plan, unfinished)
        options.console.print("\n".join(plan.lines()), highlight=False, soft_wrap=True)
        return True
    begin(options)
    for run in runs if options.fresh else ():
        start_anew(run)
    return False


def end(options: Options) -> None:
    """Say where to compare. The mirror is a process of its own and not waited for; trouble that it has is told."""
    print_lines(options.console, ui_lines(options.root))
    if notice := trouble(options.root):
        sys.stderr.write(f"{notice}\n")
