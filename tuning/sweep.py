"""A sweep: many runs of one study, in one folder, driven by Ray Tune.

    <storage>/<sweep>/sweep.json    what was asked, the settings in order, who was stopped early, how it ended
    <storage>/<sweep>/lease/        the driver's: a second one is refused while it lives
    <storage>/<sweep>/<run key>/    the runs

Tune decides what runs when and what is stopped early. What a run has reached is in its directory and nowhere else, so
the plain same command after any crash goes on: a finished run only tells Tune its numbers again, in order, an
interrupted one trains on from its newest checkpoint, and whoever was stopped early stays stopped.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cluster.evaluations import evaluation_fields, read_evaluation
from cluster.execution import execute
from cluster.files import Damaged, StorageFailed, read_json, set_aside, told, write_json
from cluster.lease import Fenced, Held, Lease, exit_when_lapsed, wait_for_lapse
from cluster.plan import Plan, probe
from cluster.run import Result, Run, read_result
from cluster.session import available, probe_storage, ray_session
from cluster.stopping import on_stop
from cluster.storage import open_storage
from cluster.workers import Workers
from genlib import InputError, Progress, Study
from tuning.space import Space, as_words, axes, looks, settings

Search = Literal["grid", "random", "optuna"]
Stopping = Literal["none", "asha", "median"]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What varies, how it is searched, and what is best.

    Arguments:
        metric: of the evaluation; the best value over the evaluation fields counts for a setting. A metric of the
            journal (`validation/…`, `loss`) makes a cheap search: nothing is evaluated.
        search: every combination, `runs` random ones, or `runs` that Optuna proposes from the results so far.
        stopping: end hopeless runs early, by the study's own objective at its validations.
        seeds: the first one searches; the `confirm` best settings (0: all) are then run under the others too.
        minutes: runs that are not done after so long are cut, to go on with the next call; 0 sets no limit.
    """

    name: str
    study: Study[Any]
    space: Space
    metric: str
    mode: Literal["min", "max"] = "min"
    search: Search = "grid"
    runs: int = 0
    stopping: Stopping = "none"
    seeds: tuple[int, ...] = (0,)
    confirm: int = 0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        axes(self.study, self.space)
        looks(self.study, self.space)
        if not self.slug or self.slug in (self.study.title(), "artifacts"):
            raise InputError(f"a sweep cannot be named {self.name!r}: give it letters, and not its study's name.")
        if self.search != "grid" and self.runs < 1:
            raise InputError(f"a sweep by {self.search} search needs a number of runs: give runs.")
        if not self.evaluates and self.looks != [{}]:
            name = next(iter(self.looks[0]))
            raise InputError(f"'{name}' matters to evaluations alone, and '{self.metric}' is not measured in them.")
        if not self.seeds:
            raise InputError("a sweep needs at least one seed.")
        for seed in self.seeds:
            replace(self.study, seed=seed)
        for setting in self.settings():
            for look in self.looks:
                replace(self.study, **setting, **look)

    @property
    def evaluates(self) -> bool:
        """Whether its metric is one of the evaluation."""
        return not self.metric.startswith(("validation/", "loss"))

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def looks(self) -> list[dict[str, Any]]:
        """The settings of the evaluation fields."""
        return looks(self.study, self.space)

    def settings(self) -> list[dict[str, Any]]:
        """The settings that are known beforehand; Optuna's are not."""
        if self.search == "optuna":
            return []
        return settings(self.study, self.space, search=self.search, runs=self.runs, seed=self.study.seed)

    def with_setting(self, setting: dict[str, Any], seed: int | None = None) -> Study[Any]:
        """The study to train, with the first of its looks."""
        return replace(self.study, **setting, **self.looks[0], seed=self.seeds[0] if seed is None else seed)

    def better(self, values: Sequence[float]) -> float:
        """The best of some values; one that is no number is none."""
        values = [value for value in values if math.isfinite(value)] or [math.inf if self.mode == "min" else -math.inf]
        return min(values) if self.mode == "min" else max(values)


@dataclass(frozen=True)
class Launching:
    """Where and how the runs of a sweep are executed."""

    storage: Path
    workers: Workers = field(default_factory=Workers)
    device: str = "cpu"
    any_device: bool = False
    cpus: int | None = None
    verbose: bool = False


@dataclass
class Measured:
    """One setting of all varied fields, and its metrics for each seed."""

    fields: dict[str, Any]
    study: Study[Any]
    metrics: dict[int, dict[str, float]]

    def values(self, metric: str) -> list[float]:
        """The metric, a value per seed."""
        return [found[metric] for found in self.metrics.values() if metric in found]


@dataclass
class Swept:
    """How a sweep ended: every run, and what was measured, best first."""

    results: list[Result]
    rows: list[Measured]
    stopped: dict[str, int]
    folder: Path


def plan(sweep: Sweep, launching: Launching) -> Plan:
    """What the sweep would run, once it is known that it can."""
    check(sweep, launching)
    have = available(launching.cpus)
    known = sweep.settings() or [{}] * sweep.runs
    confirmed = min(sweep.confirm or len(known), len(known))
    studies = [sweep.with_setting(setting) for setting in known]
    per_seed = probe(studies)
    more = len(sweep.seeds) - 1
    seconds = per_seed * (1 + more * confirmed / max(1, len(known)))
    runs = len(known) + more * confirmed
    return Plan(runs, len(sweep.looks), launching.workers, have, seconds).check()


def check(sweep: Sweep, launching: Launching) -> None:
    """Refuse what cannot work before anything is touched."""
    Plan(1, len(sweep.looks), launching.workers, available(launching.cpus), 0.0).check()
    for setting in sweep.settings() or [{}]:
        launching.workers.check(sweep.with_setting(setting))
    if launching.workers.most > 1 and sweep.stopping != "none":
        raise InputError("runs on several workers are not stopped early: use one worker, or stopping none.")
    known = metric_names(sweep)
    if sweep.metric not in known:
        raise InputError(f"there is no metric '{sweep.metric}': there are {', '.join(sorted(known))}.")


def metric_names(sweep: Sweep) -> set[str]:
    """What the study measures, from the smallest look at an untrained model."""
    study = sweep.with_setting((sweep.settings() or [{}])[0])
    model = study.model().eval().requires_grad_(False)
    if not sweep.evaluates:
        return {"loss", *study.validate(model, study.draws("validate"))}
    small = {
        name: value for name, value in type(study).preset("tiny").fields().items() if name in evaluation_fields(study)
    }
    tiny = replace(study, **small)
    return {*tiny.evaluate(model, tiny.draws("evaluate")).metrics, "cpu_seconds", "updates_per_cpu_second"}


def run_sweep(sweep: Sweep, launching: Launching, watch: Callable[[Driver], Any] | None = None) -> Swept:
    """Run it to the end, or on from where it was; `watch` is a context that shows how it goes."""
    check(sweep, launching)
    open_storage(launching.storage)
    driver = Driver(sweep, launching)
    with (
        driver.holding(),
        ray_session(launching.cpus, verbose=launching.verbose),
        on_stop(driver.settle),  # after Ray, which sets a handler of its own
    ):
        probe_storage(launching.storage)
        with watch(driver) if watch else nullcontext():
            driver.search()
            driver.confirm()
        return driver.swept()


class Driver:
    """The process that drives a sweep."""

    def __init__(self, sweep: Sweep, launching: Launching) -> None:
        self.sweep, self.launching = sweep, launching
        self.folder = launching.storage / sweep.slug
        self.tried: dict[str, tuple[dict[str, Any], int]] = {}
        """Every run so far: key → setting and seed, in order."""
        self.stopped: dict[str, int] = {}
        self.expected = len(sweep.settings()) or sweep.runs
        self.expected += (len(sweep.seeds) - 1) * min(sweep.confirm or self.expected, self.expected)
        self._lease: Lease | None = None
        self._record: dict[str, Any] = {}
        self._began = time.monotonic()
        self._ended = False

    # -- its folder ----------------------------------------------------------------------------------------------------

    @contextmanager
    def holding(self) -> Any:
        """Hold the sweep's lease; how the block ends is how the sweep ends."""
        try:
            self._lease = Lease.claim(self.folder / "lease")
        except Held as error:
            raise InputError(f"the sweep '{self.sweep.name}' is being driven already: {error}") from error
        self._lease.keep()
        try:
            self._open()
            yield
            over = self.seconds_left == 0 and self._unfinished()
            if over:
                self._kill_unfinished("the sweep's time was over")
            self._write(status="KILLED" if over else "FINISHED", ended=time.time())
        except BaseException:
            if not self._ended:
                self._write(status="FAILED", ended=time.time())
            raise
        finally:
            self._lease.release()

    def _open(self) -> None:
        path = self.folder / "sweep.json"
        sweep = self.sweep
        asked = {
            "name": sweep.name, "study": sweep.study.title(), "fields": sweep.study.fields(),
            "space": as_words(sweep.space), "metric": sweep.metric, "mode": sweep.mode, "search": sweep.search,
            "stopping": sweep.stopping,
        }  # fmt: skip
        asked["fields"] = {k: list(v) if isinstance(v, tuple) else v for k, v in asked["fields"].items()}
        try:
            known = read_json(path)
        except FileNotFoundError:
            known = {}
        except Damaged:
            set_aside(path)
            known = {}
        same = all(known.get(name) == value for name, value in asked.items())
        if sweep.stopping == known.get("stopping"):
            self.stopped = dict(known.get("stopped", {}))
        proposed = known.get("settings", []) if same else []
        asked |= {"seeds": list(sweep.seeds), "runs": sweep.runs, "confirm": sweep.confirm}
        self._record = asked | {"settings": proposed, "began": known.get("began", time.time()), "status": "RUNNING"}
        self._write()

    def _write(self, **news: Any) -> None:
        self._record |= news | {"stopped": self.stopped}
        with told(self.folder):
            write_json(self.folder / "sweep.json", self._record)

    def settle(self, signal: str) -> None:
        """A signal ends the driver: every run that has not finished is taken over and marked."""
        self._ended = True
        self._kill_unfinished(f"stopped by {signal}")
        self._write(status="KILLED", ended=time.time())

    def _unfinished(self) -> bool:
        statuses = [read_result(self.run(*tried).path).status for tried in self.tried.values()]
        return len(statuses) < self.expected or any(status not in ("FINISHED", "FAILED") for status in statuses)

    def _kill_unfinished(self, why: str) -> None:
        for run in [self.run(*tried) for tried in list(self.tried.values())]:
            if read_result(run.path).status in ("RUNNING", "KILLED"):
                with suppress(Held, StorageFailed, OSError):  # the others are marked all the same
                    run.take_and_mark("KILLED", why)

    def run(self, setting: dict[str, Any], seed: int) -> Run:
        """One of its runs."""
        study = self.sweep.with_setting(setting, seed)
        return Run(study, self.launching.storage, sweep=self.sweep.slug, taking_over=True)

    @property
    def epoch(self) -> int:
        """Of its lease: its trials end when it is no longer the newest."""
        assert self._lease is not None
        return self._lease.epoch

    # -- its phases ----------------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Every setting, under the first seed."""
        from tuning.engine import tune_by_optuna, tune_settings

        if self.sweep.search == "optuna":
            tune_by_optuna(self)
        else:
            tune_settings(self, [(setting, self.sweep.seeds[0]) for setting in self.sweep.settings()])

    def confirm(self) -> None:
        """The best settings, under the other seeds."""
        from tuning.engine import tune_settings

        settings = [
            setting
            for key, (setting, seed) in self.tried.items()
            if key not in self.stopped and read_result(self.run(setting, seed).path).status == "FINISHED"
        ]
        if self.sweep.confirm:
            varied = [name for name in self.sweep.space if name not in self.sweep.looks[0]]
            best = [{name: row.fields[name] for name in varied} for row in self.swept().rows]
            settings = [s for n, s in enumerate(best) if s not in best[:n]][: self.sweep.confirm]
        if self.sweep.seeds[1:] and settings:
            tune_settings(
                self, [(setting, seed) for seed in self.sweep.seeds[1:] for setting in settings], stopping=False
            )

    def add(self, setting: dict[str, Any], seed: int) -> Run:
        """Count a run as tried."""
        run = self.run(setting, seed)
        if run.key not in self.tried:
            self.tried[run.key] = (setting, seed)
        listed = [{"fields": dict(setting), "seed": seed, "key": run.key}]
        if not any(known["key"] == run.key for known in self._record["settings"]):
            self._write(settings=self._record["settings"] + listed)
        return run

    def stop_early(self, key: str, step: int) -> None:
        """Record that Tune stopped a run; nobody will train it on."""
        run = self.run(*self.tried[key])
        if read_result(run.path).status == "FINISHED":
            return  # it had only told its numbers again
        if self.seconds_left == 0:
            return  # its time was over, not its hope
        run.take_and_mark("FINISHED", "", stopped_early=step)
        self.stopped[key] = step
        self._write()

    @property
    def proposed(self) -> list[dict[str, Any]]:
        """The settings of an earlier driver of the same sweep, in order."""
        return [known["fields"] for known in self._record["settings"] if known["seed"] == self.sweep.seeds[0]]

    @property
    def seconds_left(self) -> float | None:
        """Of the budget."""
        if not self.sweep.minutes:
            return None
        return max(0.0, 60 * self.sweep.minutes - (time.monotonic() - self._began))

    # -- what came of it -----------------------------------------------------------------------------------------------

    def swept(self) -> Swept:
        """Every run's result, and the settings that were measured, best first."""
        rows: dict[str, Measured] = {}
        results = []
        for setting, seed in self.tried.values():
            run = self.run(setting, seed)
            result = read_result(run.path)
            if result.status == "NEW":
                continue  # the time was over before its turn
            results.append(result._replace(status="KILLED") if result.status == "RUNNING" else result)
            if results[-1].status != "FINISHED" or run.key in self.stopped:
                continue
            for look in self.sweep.looks:
                study = replace(run.study, **look)
                metrics = results[-1].metrics
                if self.sweep.evaluates:
                    known = read_evaluation(run.evaluation_folder(study))
                    if known is None:
                        continue  # asked for since, and not yet done
                    metrics = known
                every = setting | look
                row = rows.setdefault(str(every), Measured(every, replace(study, seed=self.sweep.seeds[0]), {}))
                row.metrics[seed] = metrics
        sign = 1 if self.sweep.mode == "min" else -1

        def merit(row: Measured) -> tuple[int, float]:
            values = row.values(self.sweep.metric)
            mean = sign * sum(values) / len(values) if values else math.inf
            return -len(values), mean if math.isfinite(mean) else math.inf

        measured = [row for row in rows.values() if row.metrics]
        return Swept(results, sorted(measured, key=merit), dict(self.stopped), self.folder)

    def record_best(self, **news: Any) -> None:
        """Add to `sweep.json` what the end of the script says."""
        self._write(**news)


def execute_trial(
    study: Study[Any],
    *,
    sweep: Sweep,
    launching: Launching,
    driver: int,
    report: Callable[[int, float], None] | None,
    stopped: bool,
) -> dict[str, Any]:
    """One run, in the trial's own process or on workers of its own; what it reached, whatever happened."""
    folder = launching.storage / sweep.slug
    run = Run(study, launching.storage, sweep=sweep.slug)
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
                        run, launching.workers, listen, device=launching.device, looks=views,
                        evaluation=sweep.evaluates, any_device=launching.any_device,
                    )  # fmt: skip
                    break
                except Held:
                    continue
        except Fenced:  # the driver, or another one, has taken the run over
            return {}
        except Exception as error:  # the run has failed, and says so in its directory; the sweep goes on
            if read_result(run.path).status != "FAILED":
                run.take_and_mark("FAILED", f"{type(error).__name__}: {error}")
            return {}
    return {"value": sweep.better([found[sweep.metric] for found in metrics])} if sweep.metric in metrics[0] else {}
