"""Runs a sweep by Ray Tune, kept quiet: it places the trials, stops the hopeless ones, and asks Optuna for settings."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from cluster.courses import passed_by, saved_updates
from cluster.directory import open_run, read_result
from cluster.execution import do_first
from cluster.needs import lending_from, needs_of, train_needs
from cluster.parcel import Parcel, pack, unpack
from cluster.plan import Plan
from cluster.run import Run
from cluster.secrets import scrubbed
from cluster.session import probe_storage, quiet, ray_session, resources
from cluster.stopping import on_stop
from cluster.storage import open_storage
from genlib import InputError, Study
from genlib.own import refuse_while_importing
from genlib.settings import carried_fields
from tuning.driver import Driver, Setting
from tuning.packs import LEAST, Halving, packing_of, train_packs
from tuning.space import training_axes
from tuning.sweep import Placement, Sweep, Swept, check
from tuning.trial import do, execute_trial

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
    driver.doing = "starting Ray"
    with (
        driver.holding(),
        watch(driver) if watch else nullcontext(),
        ray_session(placement.cpus, verbose=placement.verbose),
        on_stop(driver.settle),  # after Ray, which sets a handler of its own
    ):
        probe_storage(placement.storage)
        driver.doing = ""
        _search(driver)
        if sweep.seeds[1:] and not _at_one_go(sweep):
            _confirm(driver)
        _draw(driver)
        return driver.swept()


def _search(driver: Driver) -> None:
    """Run every setting under the first seed, or under all of them where no result decides what comes next."""
    sweep = driver.sweep
    if sweep.search == "optuna":
        _tune_by_optuna(driver)
    else:
        seeds = sweep.seeds if _at_one_go(sweep) else sweep.seeds[:1]
        _tune_settings(driver, [(setting, seed) for seed in seeds for setting in sweep.settings()])


def _at_one_go(sweep: Sweep) -> bool:
    """Whether all that will be run is known beforehand."""
    return sweep.search != "optuna" and sweep.stopping == "none" and not sweep.confirm


def _confirm(driver: Driver) -> None:
    """Run the best settings under the other seeds."""
    sweep = driver.sweep
    settings = [
        setting
        for key, (setting, seed) in driver.tried.items()
        if key not in driver.stopped and read_result(driver.run(setting, seed).path).status == "FINISHED"
    ]
    if sweep.confirm:
        varied = [name for name in sweep.space if name not in sweep.looks[0]]
        best = [{name: row.fields[name] for name in varied} for row in driver.swept().rows]
        settings = [setting for n, setting in enumerate(best) if setting not in best[:n]][: sweep.confirm]
    if settings:
        pairs = [(setting, seed) for seed in sweep.seeds[1:] for setting in settings]
        _tune_settings(driver, pairs, stopping=False)


def _draw(driver: Driver) -> None:
    """Draw the best settings under the first seed; the others wait until somebody asks."""
    if not driver.sweep.evaluates or driver.seconds_left == 0:
        return
    best = driver.swept().rows[: driver.placement.figures]
    looks: dict[str, list[Study[Any]]] = {}
    for row in best:
        if driver.sweep.seeds[0] in row.metrics:
            looks.setdefault(row.study.key(), []).append(row.study)
    driver.doing = f"drawing the best {len(best)}"
    place = (driver.placement.storage, driver.sweep.slug)
    needs = {"num_cpus": driver.placement.workers.cpus}
    drawn = [_drawn.options(**needs).remote(pack((studies, *place))) for studies in looks.values()]
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
    looks, storage, sweep = unpack(parcel)
    run = Run(looks[0], storage, sweep=sweep)
    try:
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
    for setting, seed in pairs:
        driver.add(setting, seed)
    studies = {number: driver.sweep.with_setting(*pair) for number, pair in enumerate(pairs)}
    if saved_updates(studies.values()):
        pairs = [pairs[number] for number in sorted(studies, key=lambda number: studies[number].steps)]
    _train_needs(driver, list(studies.values()))
    _train_packs(driver, list(studies.values()), stopping)
    trained = [pair for pair in pairs if driver.run(*pair).result().status == "FINISHED"]
    _try(driver, [pair for pair in trained if not _is_done(driver, *pair)], stopping=False)
    _try(driver, [pair for pair in pairs if pair not in trained], stopping=stopping)


def _try(driver: Driver, pairs: list[tuple[Setting, int]], *, stopping: bool) -> None:
    """Have Tune run these settings, a trial each."""
    numbered = {str(number): pair for number, pair in enumerate(pairs)}
    if numbered:
        _fit(driver, {"run": tune.grid_search(list(numbered))}, numbered, None, len(pairs), stopping)


def _train_packs(driver: Driver, studies: Sequence[Study[Any]], stopping: bool) -> None:
    """Train those of these studies as one that fit together, where that pays; the others train in their trials."""
    sweep, placement = driver.sweep, driver.placement
    stops = stopping and sweep.stopping != "none"
    if not placement.packs or placement.workers.most > 1 or (stops and sweep.stopping != "asha"):
        return
    runs = {study: Run(study, placement.storage, sweep=driver.sweep.slug) for study in studies}
    untrained = [study for study, run in runs.items() if run.result().status not in ("FINISHED", "FAILED")]
    at_once = _at_once(driver, len(studies))
    driver.doing = "timing packs"
    packing = packing_of(untrained, at_once, device=placement.device)
    driver.doing = ""
    train_packs(
        packing,
        runs.__getitem__,
        at_once,
        halving=Halving(max(study.steps for study in studies)) if stops else None,
        driver=(driver.path / "lease", driver.folder.epoch),
        device=placement.device,
        gpus=placement.workers.gpus,
        any_device=placement.any_device,
    )
    for run in runs.values():
        if (step := run.result().stopped_early) is not None:
            driver.note_stopped(run.key, step)


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
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise InputError("search 'optuna' needs the optuna package: pip install 'genlib[optuna]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweep = driver.sweep
    space: dict[str, Any] = {
        name: tune.choice(values) if isinstance(values, list) else values
        for name, values in training_axes(sweep.study, sweep.space).items()
    }
    sampler = optuna.samplers.TPESampler(seed=sweep.study.seed)
    search = OptunaSearch(
        space, metric="value", mode=sweep.mode, sampler=sampler, points_to_evaluate=driver.proposed or None
    )
    together = _asked_at_once(driver)
    if together < LEAST:
        _fit(driver, {}, {}, search, sweep.runs, True)
        return
    for first in range(0, sweep.runs, together):
        names = [f"{number}" for number in range(first, min(sweep.runs, first + together))]
        asked = {name: search.suggest(name) or {} for name in names}
        _tune_settings(driver, [(setting, sweep.seeds[0]) for setting in asked.values()])
        for name, setting in asked.items():
            value = _reached(driver, setting)
            search.on_trial_complete(name, None if value is None else {"value": value}, error=value is None)


def _asked_at_once(driver: Driver) -> int:
    """How many settings Optuna is asked for at a time: as many as train as one in all processes; 1 without packs."""
    sweep, placement = driver.sweep, driver.placement
    study = sweep.with_setting({})
    varied = set(training_axes(sweep.study, sweep.space))
    if not placement.packs or placement.workers.most > 1 or not varied <= carried_fields(type(study)):
        return 1
    at_once = _at_once(driver, sweep.runs)
    alike = [replace(study, seed=seed) for seed in range(sweep.runs)]
    sizes = [len(members) for members in packing_of(alike, at_once, device=placement.device).packs]
    return min(sum(sizes), max(LEAST, sweep.runs // ROUNDS)) if sizes else 1


def _reached(driver: Driver, setting: Setting) -> float | None:
    """The best value of a setting's looks; None where its run failed or was stopped early."""
    sweep = driver.sweep
    run = driver.run(setting, sweep.seeds[0])
    rows = [row.values(sweep.metric) for row in driver.swept().rows if row.study.key() == run.key]
    values = [values[0] for values in rows if values]
    return sweep.better(values) if values else None


def _at_once(driver: Driver, runs: int) -> int:
    plan = Plan(runs, 1, driver.placement.workers, resources(), 0.0).check()
    return max(1, plan.at_once)


def _fit(
    driver: Driver, space: Setting, numbered: dict[str, tuple[Setting, int]], search: Any, count: int, stopping: bool
) -> None:
    """One pass of Tune over its trials."""
    if driver.seconds_left == 0:
        return
    quiet()
    sweep, placement, epoch = driver.sweep, driver.placement, driver.folder.epoch
    parcel = pack((sweep, placement, frozenset(driver.stopped)))
    stops = stopping and sweep.stopping != "none"
    sign = 1 if sweep.study.objective[1] == "min" else -1

    def trial(config: Setting) -> None:
        sweep, placement, stopped = unpack(parcel)
        setting, seed = numbered[config["run"]] if "run" in config else (config, sweep.seeds[0])
        study = sweep.with_setting(setting, seed)
        last = {"key": study.key(), "step": 0, "objective": 0.0}

        def report(step: int, value: float) -> None:
            last.update(step=step, objective=sign * value)
            ray.tune.report(dict(last))

        outcome = execute_trial(
            study, sweep=sweep, placement=placement, driver=epoch,
            report=report if stops else None, stopped=study.key() in stopped,
        )  # fmt: skip
        ray.tune.report({**last, "ended": True, "value": float("nan"), **outcome})

    many = placement.workers.most > 1
    # A trial whose workers compute elsewhere must not hold what they need: no CPU at all, only a sliver of memory.
    each = {"memory": 2.0**20} if many else {"CPU": placement.workers.cpus, "GPU": placement.workers.gpus}
    with tempfile.TemporaryDirectory(prefix="genlib-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(trial, each),
            param_space=space,
            tune_config=tune.TuneConfig(
                num_samples=count if search is not None else 1,
                max_concurrent_trials=_at_once(driver, count),
                reuse_actors=not many,
                search_alg=search,
                scheduler=_scheduler(driver) if stops else FIFOScheduler(),
                time_budget_s=driver.seconds_left,
            ),
            run_config=tune.RunConfig(
                name=sweep.slug, storage_path=scratch, verbose=0, callbacks=[_Ear(driver)],
                failure_config=tune.FailureConfig(max_failures=3),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()  # fmt: skip


def _scheduler(driver: Driver) -> Any:
    """Decides which runs stop early, by the objective at the validations; `_fit` turns its sign: less is better."""
    sweep = driver.sweep
    grace = sweep.study.validate_every
    if sweep.stopping == "asha":
        longest = max(sweep.with_setting(setting).steps for setting in sweep.settings() or [{}])
        return ASHAScheduler(
            time_attr="step", metric="objective", mode="min", grace_period=min(grace, longest), max_t=longest + 1
        )
    if sweep.stopping == "median":
        return MedianStoppingRule(
            time_attr="step", metric="objective", mode="min", grace_period=grace, min_samples_required=3
        )
    return FIFOScheduler()


class _Ear(tune.Callback):
    """Tells the driver what Tune does."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._last: dict[str, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its own state, which nobody reads: a sweep resumes from its run directories

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if "run" not in trial.config:
            self._driver.add(dict(trial.config), self._driver.sweep.seeds[0])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._last[trial.trial_id] = result

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        last = self._last.get(trial.trial_id, {})
        if last and not last.get("ended"):
            self._driver.stop_early(last["key"], int(last["step"]))
