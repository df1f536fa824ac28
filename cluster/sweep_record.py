"""`sweep.json`: what a sweep was asked, what it has tried, how it ended. Written by its driver, read by the mirror."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from cluster.files import Damaged, read_json, storage_failures, write_json
from genlib.settings import digits

NAME = "sweep.json"


@dataclass(frozen=True)
class Tried:
    """One run of a sweep: its setting, its seed, its key."""

    fields: dict[str, Any]
    seed: int
    key: str


@dataclass(frozen=True)
class Best:
    """The best setting: its value, the command that trains it, its fields."""

    value: float
    command: str
    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """All that `sweep.json` holds. A sweep over whole studies has no space, and names for its runs instead."""

    name: str
    study: str
    """The name of the study on the command line; several names, where the sweep is over whole studies."""
    space: dict[str, list[str]]
    metric: str
    began: float
    experiment: str = ""
    """The MLflow experiment, where it is not the study's own."""
    fields: dict[str, Any] = field(default_factory=dict)
    mode: str = "min"
    search: str = "grid"
    stopping: str = "none"
    seeds: list[int] = field(default_factory=list)
    runs: int = 0
    confirm: int = 0
    settings: list[Tried] = field(default_factory=list)
    """Every run so far, in order."""
    stopped: dict[str, int] = field(default_factory=dict)
    """Runs that were stopped early: key → update."""
    names: dict[str, str] = field(default_factory=dict)
    """What runs are called in MLflow: key → name."""
    note: str = ""
    """What the sweep is and what came of it, in Markdown."""
    best: Best | None = None
    command: str = ""
    """The command that asked for it."""
    status: str = "RUNNING"
    ended: float | None = None

    def same_question(self, other: SweepRecord) -> bool:
        """Whether two records are of one search, so that the settings given to one are the other's too."""
        names = ("name", "study", "fields", "space", "metric", "mode", "search", "stopping")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def in_words(fields: Mapping[str, Any]) -> str:
    """A setting as it is named: every field with its value, numbers at three digits.

    Example:
        >>> in_words({"schedule": "exp3", "learning_rate": 0.00123456, "width": 12345})
        'schedule exp3, learning_rate 0.00123, width 12345'
    """
    return ", ".join(f"{name} {digits(value)}" for name, value in fields.items())


def script_of(command: str) -> str:
    """The script of a command line.

    Example:
        >>> script_of("python experiments/sweep_diffusion.py --plan")
        'experiments/sweep_diffusion.py'
    """
    return next((word for word in shlex.split(command) if word.endswith(".py")), command.partition(" ")[0])


def read_sweep(folder: Path) -> SweepRecord:
    """The record of a sweep's folder; raises `Damaged`, or `FileNotFoundError`. Others read it too."""
    stat = (folder / NAME).stat()
    return _read(folder, stat.st_mtime_ns, stat.st_ino, stat.st_size)


@lru_cache(maxsize=4)  # of a large sweep every run asks
def _read(folder: Path, *_version: int) -> SweepRecord:
    content = read_json(folder / NAME)
    known = {declared.name for declared in fields(SweepRecord)}
    try:
        record = {name: value for name, value in content.items() if name in known}
        record["settings"] = [Tried(**one) for one in record.get("settings", [])]
        record["best"] = Best(**record["best"]) if record.get("best") else None
        return SweepRecord(**record)
    except TypeError as error:
        raise Damaged(f"{folder / NAME} is damaged: it is no record of a sweep.") from error


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Replace the record whole."""
    with storage_failures(folder):
        write_json(folder / NAME, asdict(record))
