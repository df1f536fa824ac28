"""How speeds are compared: CPU seconds of bursts in turns, and their ratios with an interval."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.command.record import read_record, write_record

Burst = Callable[[], object]
"""A piece of work that is timed as a whole."""


@dataclass(frozen=True)
class TimingOptions:
    """How long to measure."""

    repeats: int = 15
    """Number of interleaved measurements."""
    record: bool = False
    """Record what is measured for the page of speeds, where `make pages` shows it."""


def seconds(burst: Burst) -> float:
    """CPU seconds of one burst."""
    began = time.process_time()
    burst()
    return time.process_time() - began


def race(bursts: Mapping[str, Burst], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of every burst, interleaved; all take turns at going first, and each is warmed up once."""
    names = list(bursts)
    for burst in bursts.values():
        burst()
    times: dict[str, list[float]] = {name: [] for name in names}
    for k in range(repeats):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            times[name].append(seconds(bursts[name]))
    return times


def ratio(times: Sequence[float], others: Sequence[float], digits: int = 2) -> str:
    """The median of paired ratios and its 95 % interval, `1.03 [0.98, 1.06]`."""
    middle, low, high = median_interval([a / b for a, b in zip(times, others, strict=True)])
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % interval, from order statistics."""
    ordered = np.sort(values)
    n = len(ordered)
    reach = int(np.ceil(0.98 * np.sqrt(n)))
    return float(np.median(ordered)), float(ordered[max(0, n // 2 - reach)]), float(ordered[min(n - 1, n // 2 + reach)])


def comparison_cells(times: Mapping[str, Sequence[float]], name: str, amount: int) -> tuple[str, str]:
    """How much a library does in a CPU-second, and its time as a multiple of genlib's."""
    compared = "1" if name == "genlib" else ratio(times[name], times["genlib"])
    return f"{amount / np.median(times[name]):,.0f}", compared


def is_installed(name: str) -> bool:
    """Whether a library can be imported; writes a line to standard error where it cannot."""
    try:
        importlib.import_module(name)
    except ImportError:
        sys.stderr.write(f"{name} is not installed, so not compared: pip install -e '.[bench]'\n")
        return False
    return True


def show(table: Table, name: str, *, record: bool, width: int = 150) -> None:
    """Print a table of measurements, and record it for the page of speeds where that is asked for."""
    Console(width=width).print(table)
    if record:
        rows = [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]
        known = read_record("speed")
        write_record("speed", known | {name: {"columns": [str(c.header) for c in table.columns], "rows": rows}})


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a storage that is timed; its mirror may outlive it by some seconds."""
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
