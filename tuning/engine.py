"""Runs a sweep: what comes first, packs, trials by Ray Tune, the best settings under more seeds, figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import ray

from cluster import carrying, refreshing
from cluster.courses import passed_by, saved_updates
from cluster.directory import read_result
from cluster.execution import do_first
from cluster.needs import lending_from, needs_of, train_needs
from cluster.opening import open_run
from cluster.parcel import Parcel, pack, unpack
from cluster.plan import Plan
from cluster.run import Run
from cluster.secrets import scrubbed
from cluster.session import probe_storage, ray_session, resources
from cluster.stopping import on_stop
from cluster.storage import open_storage
from genlib import Study
from genlib.own import refuse_while_importing
from genlib.settings import carried_fields
from tuning.driver import Driver, Setting
from tuning.packs import LEAST, Halving, packing_of, train_packs
from tuning.space import training_axes
from tuning.sweep import Placement, Sweep, Swept, check
from tuning.trial import do

ROUNDS = 4
"""Rounds, at least, in which Optuna is asked for settings: it learns from each."""


def run_sweep(
    sweep: Sweep, placement: Placement, watch: Callable[[Driver], Any] | None = None, *, checked: bool = False
) -> Swept:
    """Run a sweep to the end, from where an earlier call left it.

    Arguments:
        watch: makes a context that shows how the sweep goes.
        checked: the caller has checked the sweep already.
    """
    refuse_while_importing()
    if not checked:
        check(sweep, placement)
    open_storage(placement.storage)
    driver = Driver(sweep, placement)
    driver.doing = "looking at what is there"
    with driver.holding(), watch(driver) if watch else nullcontext(), on_stop(driver.settle):
        if _is_over(driver):
            return driver.swept()
        driver.doing = "starting Ray"
        with (
            ray_session(placement.cpus, verbose=placement.verbose, meanwhile=partial(_prepare, driver)),
            on_stop(driver.settle),  # once more, for Ray's core has set a handler that aborts
        ):
            return _run(driver)


def _run(driver: Driver) -> Swept:
    """Run what is left of a sweep, in the session that is open."""
    probe_storage(driver.placement.storage)
    driver.doing = ""
    _search(driver)
    _tune_settings(driver, _confirmed(driver), stopping=False)
    _draw(driver)
    return driver.swept()


def _prepare(driver: Driver) -> None:
    """What can be done while Ray starts: time packs, and import Tune for what is not packed, which takes a second."""
    packed = 0
    studies = [driver.sweep.with_setting(*pair) for pair in _first(driver)]
    if _may_pack(driver, stopping=True):
        packed = sum(map(len, packing_of(_untrained(driver, studies), 1, device=driver.placement.device).packs))
    if not studies or packed < len(studies):  # Optuna has none yet
        _import_tune()


def _import_tune() -> None:
    """Import what `_try` needs, where there is time for it."""
    import_module("tuning.tuner")


def _is_over(driver: Driver) -> bool:
    """Whether all that the sweep asks for is there, so that nothing needs Ray. What Optuna asks for, it alone knows."""
    if driver.sweep.search == "optuna" or driver.seconds_left == 0:
        return False
    pairs: list[tuple[Setting, int]] = []
    for asked in (_first, _confirmed):
        more = asked(driver)
        if not all(_is_trained(driver, driver.run(*pair)) for pair in more):
            return False  # quickly told, and mostly so
        driver.add(*more)
        pairs += more
    return all(_is_done(driver, *pair) for pair in pairs) and not _undrawn(driver)


def _search(driver: Driver) -> None:
    """Run every setting under the first seed, or under all of them where no result decides what comes next."""
    sweep = driver.sweep
    if sweep.search == "optuna":
        _tune_by_optuna(driver)
    else:
        _tune_settings(driver, _first(driver))


def _first(driver: Driver) -> list[tuple[Setting, int]]:
    """The settings that are run first, each under its seed."""
    sweep = driver.sweep
    seeds = sweep.seeds if _at_one_go(sweep) else sweep.seeds[:1]
    return [(setting, seed) for seed in seeds for setting in sweep.settings()]


def _at_one_go(sweep: Sweep) -> bool:
    """Whether all that will be run is known beforehand."""
    return sweep.search != "optuna" and sweep.stopping == "none" and not sweep.confirm


def _confirmed(driver: Driver) -> list[tuple[Setting, int]]:
    """The best settings of those that ran, each under the other seeds."""
    sweep = driver.sweep
    if not sweep.seeds[1:] or _at_one_go(sweep):
        return []
    settings = [
        setting
        for key, (setting, seed) in driver.tried.items()
        if seed == sweep.seeds[0]
        and key not in driver.stopped
        and read_result(driver.run(setting, seed).path).status == "FINISHED"
    ]
    if sweep.confirm:
        varied = [name for name in sweep.space if name not in sweep.looks[0]]
        best = [{name: row.fields[name] for name in varied} for row in driver.swept().rows]
        settings = [setting for n, setting in enumerate(best) if setting not in best[:n]][: sweep.confirm]
    return [(setting, seed) for seed in sweep.seeds[1:] for setting in settings]


def _undrawn(driver: Driver) -> list[list[Study[Any]]]:
    """The best settings under the first seed whose figures are not there, those of one run together; the others wait
    until somebody asks.
    """
    if not driver.sweep.evaluates or driver.seconds_left == 0 or not driver.placement.figures:
        return []
    looks: dict[str, list[Study[Any]]] = {}
    for row in driver.swept().rows[: driver.placement.figures]:
        if driver.sweep.seeds[0] in row.metrics:
            looks.setdefault(row.study.key(), []).append(row.study)
    runs = {key: driver.run(*driver.tried[key]) for key in looks}
    return [studies for key, studies in looks.items() if runs[key].known(studies, figures=True) is None]


def _draw(driver: Driver) -> None:
    """Draw the best settings."""
    looks = _undrawn(driver)
    if looks:
        driver.doing = "drawing the best"
    place = (driver.placement.storage, driver.sweep.slug, driver.drivers)
    needs = {"num_cpus": driver.placement.workers.cpus}
    drawn = [_drawn.options(**needs).remote(pack((studies, *place))) for studies in looks]
    for task in drawn:
        try:
            text = ray.get(task)
        except ray.exceptions.RayError as error:
            text = f"a process that drew figures died ({error})."
        if text:
            sys.stderr.write(f"{scrubbed(text)}\n")


@ray.remote
def _drawn(parcel: Parcel) -> str:
    """Draw the figures of a finished run's looks; returns a sentence where they cannot be: the sweep stands without."""
    import torch

    torch.set_num_threads(1)
    looks, storage, sweep, drivers = unpack(parcel)
    run = Run(looks[0], storage, sweep=sweep, drivers=drivers)
    try:
        carrying.settle_patiently(run.path, whole=True)
        with lending_from(storage):
            trained = open_run(run.path)
            for look in looks:
                run.finish(replace(trained, study=look))
    except Exception as error:
        return f"the figures of {run.path} could not be drawn ({type(error).__name__}: {error})."
    return ""


def _tune_settings(driver: Driver, pairs: list[tuple[Setting, int]], *, stopping: bool = True) -> None:
    """Run these settings, each under its seed, in this order; but shorter runs before the longer ones that pass
    through them.
    """
    if not pairs:
        return
    driver.add(*pairs)
    studies = {number: driver.sweep.with_setting(*pair) for number, pair in enumerate(pairs)}
    if saved_updates(studies.values()):
        pairs = [pairs[number] for number in sorted(studies, key=lambda number: studies[number].steps)]
    _train_needs(driver, list(studies.values()))
    diverged = _train_packs(driver, list(studies.values()), stopping)
    trained, left = list[tuple[Setting, int]](), list[tuple[Setting, int]]()
    for pair in pairs:
        run = driver.run(*pair)
        if _is_trained(driver, run):
            trained.append(pair)
        elif run.key not in diverged:  # it would do so again
            left.append(pair)
    _try(driver, [pair for pair in trained if not _is_done(driver, *pair)], stopping=False)
    _try(driver, left, stopping=stopping)


def _try(driver: Driver, pairs: list[tuple[Setting, int]], *, stopping: bool) -> None:
    """Have Tune run these settings, a trial each."""
    if not pairs:
        return
    from tuning.tuner import fit_trials

    numbered = {str(number): pair for number, pair in enumerate(pairs)}
    fit_trials(driver, numbered, _at_once(driver, len(pairs)), stopping=stopping)


def _train_packs(driver: Driver, studies: Sequence[Study[Any]], stopping: bool) -> set[str]:
    """Train those of these studies as one that fit together, where that pays; the others train in their trials.

    Returns the keys of runs that diverged.
    """
    if not _may_pack(driver, stopping=stopping) or driver.seconds_left == 0:
        return set()
    sweep, placement = driver.sweep, driver.placement
    runs = {study: Run(study, placement.storage, sweep=sweep.slug, drivers=driver.drivers) for study in studies}
    stops = stopping and sweep.stopping != "none"
    at_once = _at_once(driver, len(studies))
    driver.doing = "timing packs"
    packing = packing_of(_untrained(driver, studies), at_once, device=placement.device)
    driver.doing = ""
    diverged = train_packs(
        packing,
        runs.__getitem__,
        at_once,
        halving=Halving(driver.path, max(study.steps for study in studies)) if stops else None,
        driver=driver.folder.lease,
        device=placement.device,
        gpus=placement.workers.gpus,
        any_device=placement.any_device,
        seconds_left=lambda: driver.seconds_left,
        meanwhile=_import_tune if sweep.evaluates else None,
    )
    refreshing.catch_up(placement.storage)
    if stops:
        ended = {run.key: run.result().stopped_early for run in runs.values()}
        driver.note_stopped({key: step for key, step in ended.items() if step is not None})
    return diverged


def _may_pack(driver: Driver, *, stopping: bool) -> bool:
    """Whether runs of this sweep may train as one, where that pays."""
    sweep, placement = driver.sweep, driver.placement
    halves = not stopping or sweep.stopping in ("none", "asha")
    return placement.packs and placement.workers.most == 1 and halves


def _untrained(driver: Driver, studies: Sequence[Study[Any]]) -> list[Study[Any]]:
    """Those of some studies that have yet to be trained."""
    runs = {study: Run(study, driver.placement.storage, sweep=driver.sweep.slug) for study in studies}
    return [study for study, run in runs.items() if not _is_trained(driver, run) and run.result().status != "FAILED"]


def _is_trained(driver: Driver, run: Run) -> bool:
    """Whether a run needs no more training: it is at its end, or was stopped early and is to stay so."""
    result = run.result()
    return result.status == "FINISHED" and (result.stopped_early is None or run.key in driver.stopped)


def _is_done(driver: Driver, setting: Setting, seed: int) -> bool:
    """Whether a run was stopped early, or is trained and measured: nothing of it is left to a trial."""
    run, sweep = driver.run(setting, seed), driver.sweep
    if run.key in driver.stopped:
        return True
    looks = [replace(run.study, **look) for look in sweep.looks] if sweep.evaluates else []
    return run.known(looks, figures=False) is not None


def _train_needs(driver: Driver, studies: Sequence[Study[Any]]) -> None:
    """Train what these studies need, after those runs of the sweep that the needed ones pass through."""
    sweep, placement = driver.sweep, driver.placement
    looked = [study.with_fields(look) for study in studies for look in sweep.looks]
    needs = needs_of(looked, evaluated=sweep.evaluates)
    if not needs:
        return
    driver.doing = "training what the runs need"
    if sweep.stopping == "none":
        for need in needs:
            passed = [Run(study, placement.storage, sweep=sweep.slug) for study in passed_by(need, studies)]
            do_first(passed, partial(do, sweep=sweep, placement=placement))
    train_needs(looked, placement.storage, evaluated=sweep.evaluates)
    driver.doing = ""


def _tune_by_optuna(driver: Driver) -> None:
    """Let Optuna propose settings, after those that an earlier driver of this sweep was given."""
    _train_needs(driver, driver.sweep.studies())
    from tuning.tuner import fit_trials, optuna_search

    sweep, search = driver.sweep, optuna_search(driver)
    together = _asked_at_once(driver)
    if together < LEAST:
        fit_trials(driver, {}, _at_once(driver, sweep.runs), search=search)
        return
    for first in range(0, sweep.runs, together):
        names = [f"{number}" for number in range(first, min(sweep.runs, first + together))]
        asked = {name: search.suggest(name) or {} for name in names}
        _tune_settings(driver, [(setting, sweep.seeds[0]) for setting in asked.values()])
        reached = _reached(driver)
        for name, setting in asked.items():
            key = driver.run(setting, sweep.seeds[0]).key
            value = {"value": reached[key]} if key in reached else None
            search.on_trial_complete(name, value, error=value is None and key not in driver.stopped)
        if driver.seconds_left == 0:
            return


def _asked_at_once(driver: Driver) -> int:
    """How many settings Optuna is asked for at a time: as many as train as one in all processes; 1 without packs."""
    sweep, placement = driver.sweep, driver.placement
    study = sweep.with_setting({})
    varied = set(training_axes(sweep.study, sweep.space))
    if not _may_pack(driver, stopping=True) or not varied <= carried_fields(type(study)):
        return 1
    at_once = _at_once(driver, sweep.runs)
    alike = [replace(study, seed=seed) for seed in range(sweep.runs)]
    sizes = [len(members) for members in packing_of(alike, at_once, device=placement.device).packs]
    return min(sum(sizes), max(LEAST, sweep.runs // ROUNDS)) if sizes else 1


def _reached(driver: Driver) -> dict[str, float]:
    """The best value of each run's looks, by its key; none of those that failed or were stopped early."""
    values: dict[str, list[float]] = {}
    for row in driver.swept().rows:
        values.setdefault(row.study.key(), []).extend(row.values(driver.sweep.metric)[:1])
    return {key: driver.sweep.better(some) for key, some in values.items() if some}


def _at_once(driver: Driver, runs: int) -> int:
    plan = Plan(runs, 1, driver.placement.workers, resources(), 0.0).check()
    return max(1, plan.at_once)
