"""Executes a run where it is to run: in this process, or on workers of its own; first what its study needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

from cluster.directory import DRIVER, read_result
from cluster.evaluations import read_evaluation
from cluster.files import RunFailed, Stopped
from cluster.lease import Fenced, Held, wait_for_lapse
from cluster.needs import lending_from, train_needs
from cluster.run import Listener, Run
from cluster.workers import Workers, execute_with_workers
from genlib import Launch, Study


def execute(
    run: Run,
    workers: Workers | None = None,
    listener: Listener | None = None,
    *,
    device: str = "cpu",
    looks: Sequence[Study[Any]] = (),
    figures: bool = False,
    evaluation: bool = True,
    any_device: bool = False,
) -> list[dict[str, float]]:
    """Train and evaluate a run; returns the metrics of every look, or the journal's where nothing is evaluated."""
    workers = workers or Workers()
    looks = tuple(looks) or (run.study,)
    options: dict[str, Any] = {"looks": looks, "figures": figures, "evaluation": evaluation, "any_device": any_device}
    with lending_from(run.storage):
        train_needs(looks, run.storage, evaluated=evaluation)
        if workers.most == 1:
            torch.set_num_threads(1)
            run.execute(Launch(device=device), listener, **options)
        else:
            result = execute_with_workers(run, workers, **options)
            if result.status != "FINISHED":
                raise RunFailed(result.message)
    if not evaluation:
        return [run.result().metrics]
    return [read_evaluation(run.evaluation_folder(look)) or {} for look in looks]


def do_first(runs: Sequence[Run], do: Callable[[Run], Any]) -> None:
    """Do runs that another one passes through, each once: one that somebody has begun is waited for.

    What fails has failed for itself; who comes after it starts from where it got to.
    """
    for run in runs:
        while read_result(run.path).status not in ("FINISHED", "FAILED"):
            wait_for_lapse(run.path / "lease", run.path / DRIVER)
            try:
                with suppress(Held, Fenced):
                    do(run)
            except Stopped:
                raise
            except Exception:
                if read_result(run.path).status != "FAILED":
                    raise
