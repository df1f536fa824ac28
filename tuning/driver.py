"""The process that drives a sweep: which runs it has, which were stopped early, what came of them.

What a run has reached is in its directory and nowhere else, so the same command goes on after any crash: a finished
run only tells Tune its numbers again, in order, an interrupted one trains on from its newest checkpoint, and one that
was stopped early stays stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from cluster import carrying
from cluster.directory import Result, read_result
from cluster.evaluations import read_evaluation
from cluster.lease import Fenced
from cluster.needs import needs_of
from cluster.record import command
from cluster.run import Run
from cluster.stopping import held_here, kill_unfinished, stop_runs
from cluster.sweep_record import Best, SweepRecord, Tried
from genlib import Study
from tuning.folder import SweepFolder, held
from tuning.space import as_words
from tuning.sweep import Measured, Placement, Sweep, Swept

Setting = dict[str, Any]


class Driver:
    """A sweep that is being driven."""

    def __init__(self, sweep: Sweep, placement: Placement) -> None:
        self.sweep, self.placement = sweep, placement
        self.path = placement.storage / sweep.slug
        self.tried: dict[str, tuple[Setting, int]] = {}
        """Every run so far: key → setting and seed, in order."""
        self.expected = len(sweep.settings()) or sweep.runs
        self.expected += (len(sweep.seeds) - 1) * min(sweep.confirm or self.expected, self.expected)
        self.doing = ""
        """What the driver does beside training, in words."""
        self._folder: SweepFolder | None = None
        self._studies: dict[str, Study[Any]] = {}
        self._notes: dict[str, list[str]] = {}
        self._began = time.monotonic()

    @property
    def folder(self) -> SweepFolder:
        """The folder, while it is held."""
        if self._folder is None:
            raise RuntimeError("the sweep's folder is not held")
        return self._folder

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the sweep's folder; how the block ends is how the sweep ends."""
        with held(self.path, self.sweep.name, self._begin) as self._folder:
            yield
            if self.seconds_left == 0 and self._unfinished():
                self._kill_unfinished("the sweep's time was over")
                self.folder.write(status="KILLED", ended=time.time())
            elif any(result.status != "FINISHED" for result in self._results().values()):
                self.folder.write(status="FAILED", ended=time.time())
            listed = [known for known in self.folder.record.settings if self._stays_listed(known)]
            self.folder.write(settings=listed)

    def _stays_listed(self, known: Tried) -> bool:
        """Whether a run is of this sweep still: one that was asked for once, and not to its end, is not."""
        return known.key in self.tried or read_result(self.path / known.key).status == "FINISHED"

    def _begin(self, known: SweepRecord | None) -> SweepRecord:
        """The record to begin with; what an earlier driver of the same sweep tried and stopped is kept."""
        sweep = self.sweep
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in sweep.study.fields().items()}
        record = SweepRecord(
            name=sweep.name, study=sweep.study.title(), fields=plain, space=as_words(sweep.space),
            metric=sweep.metric, mode=sweep.mode, search=sweep.search, stopping=sweep.stopping,
            seeds=list(sweep.seeds), runs=sweep.runs, confirm=sweep.confirm, began=time.time(),
            command=command(),
        )  # fmt: skip
        if known is None:  # or damaged: the runs know what was stopped
            return record if sweep.stopping == "none" else replace(record, stopped=self._marked())
        record = replace(record, began=known.began)
        if known.stopping == sweep.stopping != "none":
            record = replace(record, stopped=self._marked() | known.stopped)
        return replace(record, settings=known.settings) if record.same_question(known) else record

    def _marked(self) -> dict[str, int]:
        """The runs that say that they were stopped early: one may have been marked right before its driver died."""
        results = [read_result(path) for path in self.path.iterdir() if (path / "result.json").exists()]
        return {result.key: result.stopped_early for result in results if result.stopped_early is not None}

    def settle(self, signal: str) -> None:
        """A signal ends the driver: every run that has not finished may save its state, and is marked."""
        self.folder.settled = True
        try:
            self.folder.lease.check()
        except Fenced:  # the runs are another's by now
            return
        needs = [Run(need, self.placement.storage) for need in needs_of(self.sweep.studies())]
        stop_runs([*held_here(needs), *(self.run(*tried) for tried in list(self.tried.values()))], signal)
        self.folder.settle(signal)

    def _unfinished(self) -> bool:
        statuses = [read_result(self.run(*tried).path).status for tried in self.tried.values()]
        return len(statuses) < self.expected or any(status not in ("FINISHED", "FAILED") for status in statuses)

    def _kill_unfinished(self, why: str) -> None:
        self.folder.lease.check()
        kill_unfinished([self.run(*tried) for tried in list(self.tried.values())], why)

    # -- its runs ------------------------------------------------------------------------------------------------------

    def run(self, setting: Setting, seed: int) -> Run:
        """The run of a setting and a seed."""
        known = f"{setting}, {seed}"
        study = self._studies.get(known) or self._studies.setdefault(known, self.sweep.with_setting(setting, seed))
        run = Run(study, self.placement.storage, sweep=self.sweep.slug, drivers=self.drivers, taking_over=True)
        run.notes = self._notes.setdefault(run.key, run.notes)  # each is told once
        return run

    @property
    def drivers(self) -> dict[str, int]:
        """For whom the sweep's runs are done: this driver, while it holds the folder."""
        return {} if self._folder is None else self._folder.drivers

    def add(self, *pairs: tuple[Setting, int]) -> None:
        """Count the runs of settings, each under its seed, as tried."""
        listed = {known.key: known for known in self.folder.record.settings}
        before = len(listed)
        for setting, seed in pairs:
            key, setting = self.run(setting, seed).key, self.sweep.in_order(setting)
            self.tried.setdefault(key, (setting, seed))
            listed.setdefault(key, Tried(dict(setting), seed, key))
        if len(listed) > before:
            self.folder.write(settings=list(listed.values()))

    def stop_early(self, key: str, step: int) -> None:
        """Record that Tune stopped a run; it will not be trained any further."""
        run = self.run(*self.tried[key])
        carrying.settle_patiently(run.path)
        if read_result(run.path).status == "FINISHED":
            return  # Tune had only heard its numbers again
        if self.seconds_left == 0:
            return  # the sweep's time was over: the run was not hopeless
        self.folder.lease.check()
        run.take_and_mark("FINISHED", "", stopped_early=step)
        self.note_stopped({key: step})

    def note_stopped(self, steps: Mapping[str, int]) -> None:
        """Put runs that were stopped early into the record: key → update."""
        stopped = {**self.stopped, **steps}
        if stopped != self.stopped:
            self.folder.write(stopped=stopped)

    @property
    def stopped(self) -> dict[str, int]:
        """The runs that were stopped early: key → update."""
        return self.folder.record.stopped

    @property
    def proposed(self) -> list[Setting]:
        """The settings that an earlier driver of the same sweep was given, in order."""
        return [known.fields for known in self.folder.record.settings if known.seed == self.sweep.seeds[0]]

    @property
    def seconds_left(self) -> float | None:
        """Seconds left of the sweep's time; None where it is not limited."""
        if not self.sweep.minutes:
            return None
        return max(0.0, 60 * self.sweep.minutes - (time.monotonic() - self._began))

    # -- what came of it -----------------------------------------------------------------------------------------------

    def _results(self) -> dict[str, Result]:
        """How every run stands. One that has not ended has failed, unless the sweep's time was over."""
        results = {key: read_result(self.run(*tried).path) for key, tried in list(self.tried.items())}
        for key, result in results.items():
            if result.status in ("NEW", "KILLED", "RUNNING") and self.seconds_left != 0:
                why = "its directory is gone" if result.status == "NEW" else result.message or "its process died"
                results[key] = result._replace(status="FAILED", message=why)
            elif result.status == "RUNNING":
                results[key] = result._replace(status="KILLED")
        return results

    def swept(self) -> Swept:
        """Every run's result, and the settings that were measured, best first."""
        rows: dict[Study[Any], Measured] = {}
        results, known = [], self._results()
        for setting, seed in list(self.tried.values()):
            run = self.run(setting, seed)
            result = known[run.key]
            if result.status == "NEW":
                continue  # the time was over before its turn
            results.append(result)
            if result.status != "FINISHED" or run.key in self.stopped:
                continue
            for look in self.sweep.looks:
                study = replace(run.study, **look)
                metrics = result.metrics
                if self.sweep.evaluates:
                    evaluation = read_evaluation(run.evaluation_folder(study))
                    if evaluation is None:
                        continue  # added to the sweep since, and not yet evaluated
                    metrics = evaluation
                first = replace(study, seed=self.sweep.seeds[0])
                row = rows.setdefault(first, Measured(self.sweep.in_order(setting | look), first, {}))
                row.metrics[seed] = metrics
        sign = 1 if self.sweep.mode == "min" else -1

        def merit(row: Measured) -> tuple[int, float]:
            values = row.values(self.sweep.metric)
            mean = sign * sum(values) / len(values) if values else math.inf
            return -len(values), mean if math.isfinite(mean) else math.inf

        measured = [row for row in rows.values() if row.metrics]
        return Swept(results, sorted(measured, key=merit), dict(self.stopped), self.path)

    def record_best(self, best: Best, note: str) -> None:
        """Add the best setting and a note to the record, unless another process drives the sweep by now."""
        with suppress(Fenced):
            self.folder.write(best=best, note=note)
