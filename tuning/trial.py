"""One trial of a sweep: a run, in the trial's own process or on workers of its own, that reports to Tune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cluster.directory import read_result
from cluster.execution import execute
from cluster.files import Stopped
from cluster.lease import Fenced, Held, exit_when_lapsed, wait_for_lapse
from cluster.run import Run
from genlib import Progress, Study
from tuning.sweep import Placement, Sweep


def execute_trial(
    study: Study[Any],
    *,
    sweep: Sweep,
    placement: Placement,
    driver: int,
    report: Callable[[int, float], None] | None,
    stopped: bool,
) -> dict[str, Any]:
    """Do one run; returns the value it reached, or nothing where it reached none: a failure is recorded, not raised."""
    folder = placement.storage / sweep.slug
    run = Run(study, placement.storage, sweep=sweep.slug)
    views = [replace(study, **look) for look in sweep.looks]
    objective = study.objective[0]

    def listen(progress: Progress) -> None:
        if report and objective in progress.metrics:
            report(progress.step, progress.metrics[objective])

    with exit_when_lapsed(folder / "lease", driver):
        if report and (run.path / "journal").exists():
            for step, value in zip(*(series.tolist() for series in run.history().series(objective)), strict=True):
                report(step, value)
        if stopped:
            return {}
        try:
            while True:
                # An orphan of an earlier driver ends by itself; another trial with the same setting does the work.
                wait_for_lapse(run.path / "lease")
                try:
                    metrics = execute(
                        run, placement.workers, listen, device=placement.device, looks=views,
                        evaluation=sweep.evaluates, any_device=placement.any_device,
                    )  # fmt: skip
                    break
                except Held:
                    continue
        except (Fenced, Stopped):  # the run has been taken over, or the whole sweep is being stopped
            return {}
        except Exception as error:  # the run has failed, and says so in its directory; the sweep goes on
            if read_result(run.path).status != "FAILED":
                run.take_and_mark("FAILED", f"{type(error).__name__}: {error}")
            return {}
    return {"value": sweep.better([row[sweep.metric] for row in metrics])} if sweep.metric in metrics[0] else {}
