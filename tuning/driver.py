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
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from cluster.evaluations import read_evaluation
from cluster.files import Damaged, read_json, set_aside, told, write_json
from cluster.lease import Held, Lease
from cluster.run import Run, kill_unfinished, read_result
from cluster.session import probe_storage, ray_session
from cluster.stopping import on_stop
from cluster.storage import open_storage
from genlib import InputError
from tuning.space import as_words
from tuning.sweep import Launching, Measured, Sweep, Swept, check


def run_sweep(
    sweep: Sweep, launching: Launching, watch: Callable[[Driver], Any] | None = None, *, checked: bool = False
) -> Swept:
    """Run it to the end, or on from where it was.

    Arguments:
        watch: a context that shows how it goes.
        checked: the caller has done that already.
    """
    if not checked:
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
        kill_unfinished([self.run(*tried) for tried in list(self.tried.values())], why)

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
