"""What a person sees: one quiet line while a script runs, one table at its end, and the commands to go on with."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cluster.directory import Result, read_result
from cluster.journal import last_row
from cluster.plan import words
from cluster.run import Run
from genlib import Progress, Study
from genlib.own import provenance

if TYPE_CHECKING:
    from tuning.driver import Driver

SELDOM = 10.0
"""Seconds between lines where there is no terminal to rewrite one on."""


class Line:
    """One line on standard error, rewritten on a terminal, repeated now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last, self._text = 0.0, ""

    def show(self, text: str) -> None:
        """Show a text in place of the last one, unless that is still too new."""
        now = time.monotonic()
        if text == self._text or now - self._last < (0.2 if self._terminal else SELDOM):
            return
        self._last, self._text = now, text
        sys.stderr.write(f"\r\033[K{text[:160]}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal and self._text:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
        self._text = ""


def listener(study: Study[Any], line: Line) -> Any:
    """A listener that shows a run's progress as it comes."""
    began: list[tuple[float, int]] = []

    def listen(progress: Progress) -> None:
        began.append((time.monotonic(), progress.step))
        line.show(_progress(study, progress.step, progress.metrics, *began[0]))
        del began[1:]
        if progress.step == study.steps:
            line.show(f"{study.title()}: trained; measuring and drawing …")

    return listen


@contextmanager
def watching_run(run: Run) -> Iterator[None]:
    """Show the progress of a run that other processes do, read from its directory."""
    began = (time.monotonic(), 0)

    def look(line: Line) -> None:
        row = last_row(run.path / "journal")
        if row is None:
            line.show(f"{run.study.title()}: starting the workers …")
        else:
            line.show(_progress(run.study, row["step"], row["metrics"], *began))

    with _every_second(look):
        yield


@contextmanager
def watching_sweep(driver: Driver) -> Iterator[None]:
    """Show a sweep's progress: how many runs are done, the best so far, the time left."""
    from tuning.report import leader  # Tune's import takes seconds, and not every script has a sweep

    began = time.monotonic()
    first: list[float] = []
    best: list[str] = [""]
    counted = [0]

    def look(line: Line) -> None:
        states = [(run, read_result(run.path)) for run in (driver.run(*tried) for tried in list(driver.tried.values()))]
        done = sum(result.status in ("FINISHED", "FAILED") for _, result in states)
        running = sum(result.status == "RUNNING" for _, result in states)
        work = sum(_share(run, result) for run, result in states)
        first.append(work)
        rate = (work - first[0]) / max(1e-9, time.monotonic() - began)
        left = f", about {words((driver.expected - work) / rate)} left" if rate > 0 and work < driver.expected else ""
        if done != counted[0]:
            counted[0] = done
            best[0] = leader(driver.sweep, driver.swept())
        waiting = max(0, driver.expected - done - running)
        line.show(f"{done} done, {running} running, {waiting} waiting{left}{best[0]}")

    with _every_second(look):
        yield


@contextmanager
def _every_second(look: Any) -> Iterator[None]:
    ended, line = threading.Event(), Line()

    def watch() -> None:
        while not ended.wait(1.0):
            try:
                look(line)
            except (OSError, ValueError):  # a directory in the making: the next look will see it
                continue
        line.clear()

    thread = threading.Thread(target=watch, name="console", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _progress(study: Study[Any], step: int, metrics: dict[str, float], began: float, first: int) -> str:
    shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name.count("/") < 2)
    elapsed, updates = time.monotonic() - began, step - first
    left = f"  {words(elapsed / updates * (study.steps - step))} left" if updates > 0 and step < study.steps else ""
    return f"{study.title()} {step:,}/{study.steps:,}{left}  {shown}"


def _share(run: Run, result: Result) -> float:
    """How much of a run is done; measuring counts for a tenth."""
    if result.status in ("FINISHED", "FAILED"):
        return 1.0
    row = last_row(run.path / "journal")
    return 0.9 * row["step"] / run.study.steps if row else 0.0


def metrics_table(title: str, metrics: dict[str, float]) -> Table:
    """A table of a run's metrics."""
    table = Table("metric", title=title)
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}")
    return table


def as_command(study: Study[Any], script: str = "experiments/train.py") -> str:
    """The command that trains a study: its nearest preset, and the fields that differ from it."""

    def differing(preset: str) -> dict[str, Any]:
        base = type(study).preset(preset).fields()
        return {name: value for name, value in study.fields().items() if value != base[name]}

    nearest = min(type(study).presets, key=lambda preset: len(differing(preset)))
    fields = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in differing(nearest).items())
    own = provenance(type(study))
    return f"python {script} {own.place if own and own.place else study.title()} --preset {nearest} {fields}".rstrip()


def print_lines(console: Console, lines: dict[str, str]) -> None:
    """Print what to look at next, each on one line that can be copied whole."""
    for name, text in lines.items():
        console.print(f"{name + ':':10}{text}", soft_wrap=True, highlight=False, markup=False)


def conclude(results: Sequence[Result], *, as_json: bool) -> None:
    """Name the runs that have not finished, print the JSON line where wanted, and exit with 1 if there are any."""
    for result in results:
        if result.status != "FINISHED":
            sys.stderr.write(f"{result.status}: {result.message or 'it ended without a word'} ({result.path})\n")
    if as_json:
        print(json.dumps({"runs": [result.as_json() for result in results]}), flush=True)
    if any(result.status != "FINISHED" for result in results):
        sys.exit(1)
