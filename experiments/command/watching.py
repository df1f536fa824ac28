"""What a person sees while a script runs: one quiet line that says in words what goes on, and how long it will take.

All of it is read from the run directories, by a thread, so it is the same for runs of this process and of others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cluster.directory import DRIVER, Result, read_result
from cluster.journal import last_row
from cluster.lease import is_alive
from cluster.words import words
from experiments.command.line import Line

if TYPE_CHECKING:
    from cluster.run import Run
    from tuning.driver import Driver

ENDED = ("FINISHED", "FAILED")


class Pace:
    """How fast work goes on, from the moment at which some was first done: to start a process is no work."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._before: float | None = None

    def left(self, work: float, total: float) -> str:
        """The time left in words; empty as long as nothing can be said."""
        now = time.monotonic()
        if self._before is not None and work > self._before and self._first is None:
            self._first = (now, work)
        self._before = work
        if self._first is None or work <= self._first[1] or work >= total:
            return ""
        rate = (work - self._first[1]) / (now - self._first[0])
        return f", about {words((total - work) / rate)} left"


@contextmanager
def watching_run(runs: Sequence[Run]) -> Iterator[None]:
    """Show how one run goes, the last of these; the others are trained before it, where they are needed."""
    paces = {run.key: Pace() for run in runs}
    since: dict[str, float] = {}

    def look(line: Line) -> None:
        run = next((run for run in runs if read_result(run.path).status == "RUNNING"), runs[-1])
        row, study = last_row(run.path / "journal"), run.study
        waits = is_alive(run.path / DRIVER) and not is_alive(run.path / "lease")
        if not waits:
            since.pop("waiting", None)
        if waits:
            began = since.setdefault("waiting", time.monotonic())
            waited = words(time.monotonic() - began)
            place = f" {row['step']:,}/{study.steps:,}" if row else ""
            line.show(f"{study.title()}{place}: waiting for its workers to find a place and to start, {waited} so far")
        elif row is None:
            line.show(f"{study.title()}: starting …")
        elif row["step"] < study.steps:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in row["metrics"].items() if name.count("/") < 2)
            left = paces[run.key].left(row["step"], study.steps)
            line.show(f"{study.title()} {row['step']:,}/{study.steps:,}{left}  {shown}")
        else:
            began = since.setdefault(run.key, time.monotonic())
            measured = words(time.monotonic() - began)
            line.show(f"{study.title()}: trained; measuring and drawing, {measured} so far")

    with every_second(look):
        yield


@contextmanager
def watching_many(runs: Sequence[Run], doing: str) -> Iterator[Callable[[], None]]:
    """Show how many runs have come through; the block calls what it is given for each that has.

    Arguments:
        doing: what is done with them, in words.
    """
    pace, through = Pace(), [0]

    def look(line: Line) -> None:
        results = [(run, run.result()) for run in runs]
        work = through[0] + sum(_share(run, result) for run, result in results if result.status == "RUNNING")
        going = [run for run, result in results if result.status == "RUNNING"]
        now = "; ".join(_where(run) for run in going[:3])
        left = pace.left(work, len(runs))
        line.show(f"{doing}: {through[0]} of {len(runs)} runs done{left}{f' · {now}' if now else ''}")

    def one_more() -> None:
        through[0] += 1

    with every_second(look):
        yield one_more


@contextmanager
def watching_sweep(driver: Driver) -> Iterator[None]:
    """Show a sweep's progress: how many runs are done, the best so far, the time left."""
    from tuning.report import leader  # Tune's import takes seconds, and not every script has a sweep

    pace = Pace()
    best: list[str] = [""]
    counted = [0]

    def look(line: Line) -> None:
        states = [(run, read_result(run.path)) for run in (driver.run(*tried) for tried in list(driver.tried.values()))]
        done = sum(result.status in ENDED for _, result in states)
        running = sum(result.status == "RUNNING" for _, result in states)
        left = pace.left(sum(_share(run, result) for run, result in states), driver.expected)
        if done != counted[0]:
            counted[0] = done
            best[0] = leader(driver.sweep, driver.swept())
        waiting = max(0, driver.expected - done - running)
        doing = driver.doing or f"{running} running, {waiting} waiting{left}"
        line.show(f"{done} done, {doing}{best[0]}")

    with every_second(look):
        yield


@contextmanager
def every_second(look: Callable[[Line], Any]) -> Iterator[None]:
    """While the block runs, let a function show something on a line, about once a second."""
    ended, line = threading.Event(), Line()

    def watch() -> None:
        pause = 1.0
        while not ended.wait(pause):
            began = time.monotonic()
            with suppress(OSError, ValueError):  # a directory in the making: the next look will see it
                look(line)
            pause = max(1.0, 9 * (time.monotonic() - began))  # looking must not take a core from training
        line.clear()

    thread = threading.Thread(target=watch, name="console", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _where(run: Run) -> str:
    """A run's study and update."""
    row = last_row(run.path / "journal")
    return f"{run.study.title()} {row['step'] if row else 0:,}/{run.study.steps:,}"


def _share(run: Run, result: Result) -> float:
    """How much of a run is done; measuring counts for a tenth."""
    if result.status in ENDED:
        return 1.0
    row = last_row(run.path / "journal")
    return 0.9 * row["step"] / run.study.steps if row else 0.0
