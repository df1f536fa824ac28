"""What MLflow has been shown, remembered between passes and between processes.

It only saves work: without it everything is looked up and sent again, to the same end. A place is a folder's path
inside the storage.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.files import Damaged, read_json, write_json


@dataclass
class ShownEvaluation:
    """One evaluation of a run: the MLflow run that shows it, and the time of the manifest it was read with."""

    run: str
    mark: int


@dataclass
class ShownRun:
    """A run: its MLflow run, and how much of its directory is shown there."""

    run: str
    experiment: str
    born: float
    status: str = ""
    step: int = -1
    system: int = 0
    """Number of lines about the machine that have been sent."""
    model: bool = False
    evaluations: dict[str, ShownEvaluation] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    """Times of its files when all of it was shown; empty before."""

    def runs(self) -> list[str]:
        """Every MLflow run that shows something of it."""
        return list(dict.fromkeys([self.run, *(shown.run for shown in self.evaluations.values())]))


@dataclass
class ShownSweep:
    """A sweep: its MLflow run, and the status and the times of its files when it was last shown."""

    run: str
    experiment: str
    began: float
    status: str = ""
    times: list[int] = field(default_factory=list)

    def runs(self) -> list[str]:
        """Every MLflow run that shows something of it."""
        return [self.run]


class Cursor:
    """All that the mirror remembers, in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved = -math.inf
        self.runs: dict[str, ShownRun] = {}
        self.sweeps: dict[str, ShownSweep] = {}
        try:
            content = read_json(path)
            self.sweeps = {place: ShownSweep(**entry) for place, entry in content["sweeps"].items()}
            self.runs = {place: _run(entry) for place, entry in content["runs"].items()}
        except (FileNotFoundError, Damaged, KeyError, TypeError):  # none yet, or of another genlib: all is sent again
            self.runs, self.sweeps = {}, {}

    def save(self, *, every: float = 0.0) -> None:
        """Write the file, unless it was written less than `every` seconds ago."""
        if time.monotonic() - self._saved < every:
            return
        self._saved = time.monotonic()
        runs = {place: asdict(entry) for place, entry in self.runs.items()}
        write_json(self.path, {"runs": runs, "sweeps": {place: asdict(entry) for place, entry in self.sweeps.items()}})

    def experiments(self) -> set[str]:
        """Every experiment that something was shown in."""
        shown: list[ShownRun | ShownSweep] = [*self.runs.values(), *self.sweeps.values()]
        return {entry.experiment for entry in shown}

    def forget_all_but(self, there: set[str]) -> None:
        """Keep in mind only what MLflow still has; the rest is shown anew."""
        self.sweeps = {place: entry for place, entry in self.sweeps.items() if entry.run in there}
        self.runs = {place: entry for place, entry in self.runs.items() if entry.run in there}
        for entry in self.runs.values():
            left = {name: shown for name, shown in entry.evaluations.items() if shown.run in there}
            if len(left) < len(entry.evaluations):
                entry.evaluations, entry.settled = left, []


def _run(entry: dict[str, Any]) -> ShownRun:
    evaluations = {name: ShownEvaluation(**shown) for name, shown in entry["evaluations"].items()}
    return ShownRun(**{**entry, "evaluations": evaluations})
