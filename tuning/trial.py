"""One trial of a sweep: a run, in the trial's own process or on workers of its own, that reports to Tune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from cluster import carrying
from cluster.courses import passed_by
from cluster.directory import read_result
from cluster.execution import do_first, execute
from cluster.files import Stopped
from cluster.lease import Fenced, Held, exit_when_lapsed, wait_for_lapse
from cluster.run import Listener, Run
from genlib import Progress, Study
from tuning.folder import drivers_of
from tuning.sweep import Placement, Sweep


def do(run: Run, listener: Listener | None = None, *, sweep: Sweep, placement: Placement) -> list[dict[str, float]]:
    """Train and evaluate one run as the sweep wants it; returns the metrics of every look."""
    looks = [replace(run.study, **look) for look in sweep.looks]
    how: dict[str, Any] = {"device": placement.device, "any_device": placement.any_device}
    return execute(run, placement.workers, listener, looks=looks, evaluation=sweep.evaluates, **how)


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
    run, *passed = (
        Run(one, placement.storage, sweep=sweep.slug, drivers=drivers_of(sweep.slug, driver))
        # Runs that are stopped early have to tell of it themselves, so their own trials do them.
        for one in (study, *(passed_by(study, sweep.trained(study.seed)) if sweep.stopping == "none" else ()))
    )
    objective = study.objective[0]

    def listen(progress: Progress) -> None:
        if report and objective in progress.metrics:
            report(progress.step, progress.metrics[objective])

    with exit_when_lapsed(folder / "lease", driver):
        carrying.settle_patiently(run.path)
        if report and (run.path / "journal").exists():
            for step, value in zip(*(series.tolist() for series in run.history().series(objective)), strict=True):
                report(step, value)
        if stopped:
            return {}
        try:
            do_first(passed, partial(do, sweep=sweep, placement=placement))
            while True:
                # An orphan of an earlier driver ends by itself; another trial with the same setting does the work.
                wait_for_lapse(run.path / "lease")
                try:
                    metrics = do(run, listen, sweep=sweep, placement=placement)
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
