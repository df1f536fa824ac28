"""How a sweep grows: from 16 to 256 runs in one command, and what a storage of 2,000 runs costs to look at.

    python experiments/bench/many.py [--sizes 16 64 256] [--stored 2000]

The runs are those of the small sweep of `service.py`, with more seeds: journals, checkpoints and mirror on. Memory is
the most that all processes of the command had together, shared pages counted once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.table import Table

from experiments.bench.service import CASES, Case, ours
from experiments.bench.timing import scratch, show
from experiments.command.arguments import read

EXPERIMENTS = Path(__file__).parent.parent
SHORT = 20
"""Updates of the runs of the large storage."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    sizes: tuple[int, ...] = (16, 64, 256)
    """Numbers of runs, each a sweep of its own: multiples of 16."""
    stored: int = 2_000
    """Number of runs in the large storage, a multiple of 16; 0 leaves it out."""
    record: bool = False
    """Record what is measured for the page of speeds, where `make pages` shows it."""
    only: int = 0
    """For use by the script itself: run a sweep of so many runs in --folder."""
    steps: int = CASES["small"].study.steps
    """For use by the script itself: updates of a run of --only."""
    folder: Path = Path()
    """For use by the script itself: the folder in which --only works."""


class Cost(NamedTuple):
    """What a command took."""

    trained: float
    """Seconds until the last run had its result."""
    ended: float
    """Seconds until the command ended; MLflow shows the last runs a little later."""
    memory: float
    """Bytes of all its processes together, at their most."""


def sweep_of(runs: int, steps: int) -> Case:
    """The small sweep with as many seeds as make so many runs."""
    small = CASES["small"]
    each = small.runs // len(small.seeds)
    return small._replace(study=replace(small.study, steps=steps), seeds=tuple(range(runs // each)))


def cost_of(runs: int, steps: int, folder: Path) -> Cost:
    """Run a sweep as a command of its own."""
    began, most = time.time(), 0.0
    command = [sys.executable, __file__, "--only", str(runs), "--steps", str(steps), "--folder", str(folder)]
    log = folder / "log"
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        while process.poll() is None:
            most = max(most, memory_of_all(process.pid))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the sweep of {runs} runs failed: {log.read_text()[-500:]}")
    trained = max(path.stat().st_mtime for path in folder.glob("runs/*/*/result.json"))
    return Cost(trained - began, time.time() - began, most)


def memory_of_all(pid: int) -> float:
    """Bytes that a process and all below it take, pages that several share counted once."""
    total = 0.0
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def seconds_of(command: Sequence[str]) -> float:
    """Seconds of a command of ours."""
    began = time.monotonic()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.monotonic() - began


def main(options: Options) -> None:
    """Measure and print."""
    if options.only:
        ours(sweep_of(options.only, options.steps), options.folder, packs=True)
        return
    table = Table(title=f"Sweeps of runs of {options.steps} updates at width 64, one command each")
    for column in ("runs", "seconds until all are trained", "until it ends", "seconds a run", "memory, GiB"):
        table.add_column(column, justify="right")
    for runs in options.sizes:
        with scratch() as folder:
            cost = cost_of(runs, options.steps, Path(folder))
        table.add_row(
            f"{runs:,}", f"{cost.trained:.0f}", f"{cost.ended:.0f}", f"{cost.ended / runs:.2f}",
            f"{cost.memory / 2**30:.1f}",
        )  # fmt: skip
        sys.stderr.write(f"{runs} runs: {cost.ended:.0f} s\n")
    show(table, "many", record=options.record)
    if options.stored:
        with scratch() as folder:
            show(looks(options.stored, Path(folder)), "stored", record=options.record)


def looks(runs: int, folder: Path) -> Table:
    """What it takes to look at a storage of many runs."""
    first = cost_of(runs, SHORT, folder)
    storage = str(folder / "runs")
    mirror = [str(EXPERIMENTS / "mirror.py"), "--storage", storage]
    table = Table(title=f"A storage of {runs:,} runs of {SHORT} updates")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    table.add_row("the sweep, until all are trained", f"{first.trained:.0f}")
    table.add_row("the sweep, until it ends", f"{first.ended:.0f}")
    table.add_row("then until MLflow shows all: mirror.py", f"{seconds_of(mirror):.0f}")
    again = cost_of(runs, SHORT, folder)
    table.add_row("the same sweep again", f"{again.ended:.0f}")
    table.add_row("runs.py list", f"{seconds_of([str(EXPERIMENTS / 'runs.py'), 'list', '--storage', storage]):.1f}")
    table.add_row("mirror.py, where all is shown", f"{seconds_of(mirror):.1f}")
    return table


if __name__ == "__main__":
    main(read(Options, about=__doc__))
