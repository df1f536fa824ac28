"""Ray Tune, kept quiet: it places the trials of a sweep, stops the hopeless ones, and asks Optuna for settings."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from cluster import refreshing
from cluster.parcel import pack, unpack
from cluster.session import quiet
from genlib import InputError
from tuning.driver import Driver, Setting
from tuning.space import training_axes
from tuning.trial import execute_trial


def fit_trials(
    driver: Driver,
    numbered: dict[str, tuple[Setting, int]],
    at_once: int,
    *,
    search: Any = None,
    stopping: bool = True,
) -> None:
    """One pass of Tune over its trials.

    Arguments:
        numbered: the settings to run, with their seeds, by number; none where a search proposes them.
        search: proposes as many settings as the sweep has runs.
        stopping: whether hopeless runs may be stopped early.
    """
    if driver.seconds_left == 0:
        return
    quiet()
    _count_no_callbacks()
    if not driver.placement.verbose:  # a trial that fails says so in its run's directory, in one sentence
        logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)
    sweep, placement, epoch = driver.sweep, driver.placement, driver.folder.lease.epoch
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
            param_space={"run": tune.grid_search(list(numbered))} if numbered else {},
            tune_config=tune.TuneConfig(
                num_samples=1 if search is None else sweep.runs,
                max_concurrent_trials=at_once,
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
    refreshing.catch_up(placement.storage)


def optuna_search(driver: Driver) -> Any:
    """Optuna's proposals, after those that an earlier driver of this sweep was given."""
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
    return OptunaSearch(
        space, metric="value", mode=sweep.mode, sampler=sampler, points_to_evaluate=driver.proposed or None
    )


def _count_no_callbacks() -> None:
    """Spare a second: Ray counts callbacks also where its statistics are turned off, and imports MLflow for that."""
    if os.environ.get("RAY_USAGE_STATS_ENABLED") != "0":
        return
    with suppress(ImportError):
        from ray.air._internal import usage

        usage.tag_callbacks = lambda callbacks: False


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
            self._driver.add((dict(trial.config), self._driver.sweep.seeds[0]))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._last[trial.trial_id] = result

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        last = self._last.get(trial.trial_id, {})
        if last and not last.get("ended"):
            self._driver.stop_early(last["key"], int(last["step"]))
