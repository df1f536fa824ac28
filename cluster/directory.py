"""What a run directory says of its run: how it stands, whether somebody writes it. Nothing here needs torch.

study.json      the study, whole; source, data, packages, machine
lease/          who writes here
journal/        every metric once, in order
system/         what the machine did meanwhile
checkpoints/    the last two whole states, and the best
evaluations/<hash of the evaluation fields>/   metrics, samples, figures with their arrays
result.json     status and the default evaluation's metrics, written last
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from cluster.files import Damaged, numbers, read_json
from cluster.lease import are_silent, is_alive, refuse_held

DRIVER = "driver"
"""Folder in a run's directory: the lease of the process that drives the run's workers, where it has several."""
WORDLESS = "it ended without a word"
"""What is said of a run that was killed at once."""


class Result(NamedTuple):
    """How a run stands: `FINISHED`, `FAILED`, `KILLED`, `RUNNING`, or `NEW`; its metrics; a message, if any."""

    key: str
    path: Path
    status: str
    metrics: dict[str, float]
    message: str = ""
    stopped_early: int | None = None
    """The update at which the run was ended because others did better."""

    def as_json(self) -> dict[str, Any]:
        """The run as `--json` prints it."""
        return {"key": self.key, "path": str(self.path), "status": self.status, "metrics": self.metrics}


def has_writer(path: Path) -> bool:
    """Whether a living process writes the run, or drives workers that do."""
    return is_alive(path / "lease") or is_alive(path / DRIVER)


def refuse_written(path: Path) -> None:
    """Raise where a living process writes the run, or drives workers that do."""
    refuse_held(path / "lease", path / DRIVER)


def read_result(path: Path) -> Result:
    """How a run directory stands. Without a result and without a living writer it was killed."""
    if not (path / "study.json").exists() and not (path / "result.json").exists():
        return Result(path.name, path, "NEW", {})  # else its workers failed before it began
    if has_writer(path):
        try:
            if read_json(path / "result.json")["status"] != "FINISHED":
                raise FileNotFoundError  # the result is of an earlier try
        except (FileNotFoundError, Damaged):
            return Result(path.name, path, "RUNNING", {})
    try:
        record = read_json(path / "result.json")
    except FileNotFoundError:
        return Result(path.name, path, "KILLED", {}, WORDLESS)
    except Damaged as error:
        return Result(path.name, path, "KILLED", {}, str(error))
    metrics, early = numbers(record["metrics"]), record.get("stopped_early")
    return Result(path.name, path, record["status"], metrics, record["message"], early)


def read_results(paths: Iterable[Path]) -> dict[Path, Result]:
    """How run directories stand, those that are written on other machines after watching for a few seconds."""
    results = {path: read_result(path) for path in paths}
    running = [path for path, result in results.items() if result.status == "RUNNING"]
    silent = are_silent([path / place for path in running for place in ("lease", DRIVER)])
    dead = [path for path in running if silent >= {path / "lease", path / DRIVER}]
    return results | {path: results[path]._replace(status="KILLED", message=WORDLESS) for path in dead}
