"""The options of every script that launches runs: where and how to run. None of them changes what a run is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.directory import Result
from cluster.mirror import refuse_unusable, start_mirror, wait_until_shown
from cluster.needs import needs_of
from cluster.plan import Plan, probe
from cluster.run import Run, start_anew
from cluster.storage import open_storage, storage_from
from cluster.workers import Workers
from genlib import InputError, Launch


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


def begin(options: Options) -> None:
    """Open the storage and start the mirror, or refuse what cannot work."""
    if options.tracking:
        os.environ["MLFLOW_TRACKING_URI"] = options.tracking
    warning = refuse_unusable(options.root)
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and "MLFLOW_TRACKING_URI" not in os.environ:
        sys.stderr.write("MLFLOW_TRACKING_URI is not set: the mirror is a SQLite file in the storage.\n")
    if warning:
        sys.stderr.write(f"{warning}\n")
    open_storage(options.root)
    start_mirror(options.root)


def only_planned(options: Options, runs: Sequence[Run]) -> bool:
    """For scripts of many runs: show the plan and return True; or begin, anew where wanted, and return False."""
    from cluster.session import available

    studies = [run.study for run in runs]
    for study in studies:
        options.group.check(study)
    unfinished = [run.study for run in runs if run.result().status != "FINISHED"]
    needed = tuple(study.title() for study in needs_of(studies))
    seconds = probe(unfinished) if options.plan else 0.0
    plan = Plan(len(runs), 1, options.group, available(), seconds, needed).check()
    if options.plan:
        done = f"done:     {len(runs) - len(unfinished)} of them"
        options.console.print("\n".join([*plan.lines(), done]), highlight=False, soft_wrap=True)
        return True
    begin(options)
    for run in runs if options.fresh else ():
        start_anew(run)
    return False


def end(options: Options, results: Sequence[Result] = ()) -> None:
    """Wait until MLflow shows everything, unless it does not answer; not for long where a run has failed."""
    all_finished = all(result.status == "FINISHED" for result in results)
    try:
        notice: Any = wait_until_shown(options.root, seconds=120 if all_finished else 10)
    except KeyboardInterrupt:
        notice = "not waiting for the mirror: it goes on by itself."
    if notice:
        sys.stderr.write(f"{notice}\n")
