"""What a run directory says: how the run stands, which study it is of, the trained model it holds.

    study.json      the study, whole; source, data, packages, machine
    lease/          who writes here
    journal/        every metric once, in order
    system/         what the machine did meanwhile
    checkpoints/    the last two whole states, and the best
    evaluations/<hash of the evaluation fields>/   metrics, samples, figures with their arrays
    result.json     status and the default evaluation's metrics, written last

A directory is data. Reading one imports nothing that its text names: only studies of the catalogue are built, and those
that the process was handed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cluster import carrying
from cluster.evaluations import KeptEvaluations
from cluster.files import Damaged, numbers, read_json
from cluster.journal import read_history
from cluster.lease import are_silent, is_alive, refuse_held
from cluster.record import rebuild
from cluster.storage import find_run, storage_from
from genlib import InputError, Study, Trained
from genlib.checkpoint import checkpoints, load_checkpoint
from genlib.fitting import finished
from genlib.needs import current_lender, kept, lending
from genlib.own import adopt

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


def open_study(path: str | Path) -> Study[Any]:
    """The study of a run directory."""
    path = Path(path)
    try:
        return rebuild(read_json(path / "study.json"), path)
    except (FileNotFoundError, Damaged) as error:
        raise InputError(f"{path} is no run directory: its study.json cannot be read.") from error


def open_run(named: str | Path, *own: type[Study[Any]]) -> Trained[Any]:
    """A finished run's study, model and history, for a notebook; what was measured and drawn is read, not made anew.

    Arguments:
        named: a run directory, or the beginning of a key in the storage (`GENLIB_STORAGE`, else `./runs`).
        own: classes of your own that the run may be of, besides the studies of the catalogue.
    """
    for kind in own:
        adopt(kind)
    path = Path(named)
    with suppress(OSError):  # a bucket that does not answer: what is known here counts
        carrying.settle(path.absolute(), whole=True, within=10)
    if not (path / "study.json").exists() and re.fullmatch(r"[0-9a-f]+", str(named)):
        path = find_run(str(named), storage_from(None))
    study = open_study(path)
    folders = checkpoints(path / "checkpoints")
    if not folders:
        raise InputError(f"{path} holds no checkpoint yet: run its study first.")
    state = load_checkpoint(folders[-1], study)
    if state.step < study.steps:
        raise InputError(f"{path} is at update {state.step} of {study.steps}: run its study to the end first.")
    trained = finished(study, state.result(), read_history(path / "journal"), state.cpu_seconds)
    trained.surroundings = partial(_lending_from, path.absolute().parents[1])
    trained.kept = KeptEvaluations(path / "evaluations")
    return trained


@contextmanager
def _lending_from(storage: Path) -> Iterator[None]:
    """Lend what a storage has, where nobody else lends; who only looks writes nothing there."""
    if current_lender() is not None:
        yield
        return

    def lend(study: Study[Any]) -> Any:
        path = storage / study.title() / study.key()
        return open_run(path).model if read_result(path).status == "FINISHED" else kept(study)

    with lending(lend):
        yield
