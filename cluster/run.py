"""Doing a run: a study in a storage folder is trained, evaluated and marked, in `<storage>/<study or sweep>/<key>/`.

The same study there is the same run. Doing it again skips what is finished and resumes what is not; there is no other
resume mechanism to learn. What its directory holds is `cluster.directory`'s, how it is opened `cluster.opening`'s.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any

import genlib
from cluster import carrying, copies
from cluster.courses import sign_in
from cluster.directory import DRIVER, Result, read_result, refuse_written
from cluster.evaluations import evaluate, evaluation_key, looks_of, read_evaluation
from cluster.files import (
    Damaged,
    RunFailed,
    Stopped,
    StorageFailed,
    file_sha256,
    read_json,
    replace,
    set_aside,
    storage_failures,
    write_json,
)
from cluster.journal import Journal, read_history, read_rows
from cluster.lease import Drivers, Fenced, Lease, refuse_held
from cluster.record import keep_record, note_changed_file, rebuild
from cluster.secrets import refuse_secrets, scrubbed
from cluster.states import Origin, States
from cluster.storage import open_storage
from cluster.system import SystemLog
from genlib import Diverged, History, InputError, Launch, Progress, Study, Trained
from genlib.checkpoint import checkpoints, is_whole
from genlib.fitting import finished
from genlib.own import adopt

Listener = Callable[[Progress], None]


class Run:
    """A study in a storage folder: trained, evaluated, opened again.

    Arguments:
        sweep: the sweep that the run belongs to; a run of no sweep is filed under its study.
        origin: the run whose state this one starts from; part of what it is, so of its key.
        drivers: for whom it is done, as its lease says.
        taking_over: claim it from a living process too, one of the same or an older driver: that process is an orphan.
    """

    def __init__(
        self,
        study: Study[Any],
        storage: str | Path,
        *,
        sweep: str | None = None,
        origin: Origin | None = None,
        drivers: Drivers | None = None,
        taking_over: bool = False,
    ) -> None:
        adopt(type(study))
        refuse_secrets(study)
        self.study, self.storage = study, copies.located(storage)
        self.sweep, self.origin = sweep, origin
        self.drivers, self.taking_over = dict(drivers or {}), taking_over
        self.key = study.key()
        if origin:
            self.key = hashlib.sha256(f"{self.key} from {origin.key} at {origin.step}".encode()).hexdigest()[:12]
        self.path = self.storage / (sweep or study.title()) / self.key
        self.notes: list[str] = []
        self._lease: Lease | None = None
        self.states = States(self.path, study, origin, self.note)

    # -- doing it ------------------------------------------------------------------------------------------------------

    def execute(
        self,
        launch: Launch | None = None,
        listener: Listener | None = None,
        *,
        looks: Sequence[Study[Any]] = (),
        figures: bool = True,
        evaluation: bool = True,
        any_device: bool = False,
    ) -> list[dict[str, float]]:
        """Train to the end and evaluate under every study of `looks` (by default its own); returns their metrics.

        `cluster.execute` trains what the study needs first, in the same storage; here that is the caller's affair.

        Arguments:
            looks: studies that differ from this one in evaluation fields alone.
            evaluation: False to leave it at training.
            any_device: also resume what another kind of device began.
        """
        looks = tuple(looks) or (self.study,)
        if (known := self.known(looks if evaluation else (), figures=figures)) is not None:
            return known
        with self.claimed(launch):
            trained = self.train(launch, listener, any_device=any_device)
            return self.conclude(trained, looks, figures=figures, evaluation=evaluation)

    def conclude(
        self, trained: Trained[Any], looks: Sequence[Study[Any]], *, figures: bool, evaluation: bool
    ) -> list[dict[str, float]]:
        """Evaluate a trained run under every look, or leave it at the metrics of its journal."""
        if evaluation:
            metrics = [self.finish(with_fields(trained, study=look), figures=figures) for look in looks]
            if self.result().status != "FINISHED":  # it was begun with other evaluation fields
                first = with_fields(self.study, **looks_of(self.study, read_json(self.path / "study.json")["fields"]))
                self.finish(with_fields(trained, study=first), figures=figures)
            return metrics
        if self.result().status != "FINISHED":
            self._write_result("FINISHED", metrics=self._metrics_so_far() | {"cpu_seconds": trained.cpu_seconds})
        return []

    def known(self, looks: Sequence[Study[Any]], *, figures: bool) -> list[dict[str, float]] | None:
        """The metrics of a finished run under each of `looks`, or None where anything of it is missing or damaged."""
        with suppress(OSError):  # a bucket that does not answer: what is known here counts
            carrying.settle(self.path, whole=True, within=10)
        try:
            described = read_json(self.path / "study.json")
            rebuild(described, self.path)
        except (FileNotFoundError, Damaged, InputError):
            return None
        note_changed_file(described, self.study, self.path, self.note)
        result = self.result()
        rows = read_rows(self.path / "journal") if result.status == "FINISHED" else []
        if not rows or rows[-1]["step"] != self.study.steps or not checkpoints(self.path / "checkpoints"):
            return None
        evaluations = [read_evaluation(self.evaluation_folder(look), figures=figures) for look in looks]
        if not all(map(is_whole, checkpoints(self.path / "checkpoints"))):
            return None
        if None in evaluations:
            return None
        default = self.path / "evaluations" / str(read_json(self.path / "result.json").get("evaluation"))
        if default in map(self.evaluation_folder, looks) and not self._has_samples_of(default):
            return None
        return [metrics for metrics in evaluations if metrics is not None]

    def train(
        self, launch: Launch | None = None, listener: Listener | None = None, *, any_device: bool = False
    ) -> Trained[Any]:
        """Train to the end, from the newest whole checkpoint if there is one."""
        launch = launch or Launch()
        with self.claimed(launch) as lease:
            self.states.refuse_other_device(launch, any_device)
            state = self.states.newest(launch)
            journal = Journal(self.path / "journal", lease, device=launch.kind, workers=launch.world)
            for progress in genlib.train(self.study, state, launch=launch, stop=lease.is_asked_to_stop):
                self.keep(progress, journal)
                if listener:
                    listener(progress)
            return self.finished(state, launch)

    def keep(self, progress: Progress, journal: Journal) -> None:
        """Journal what is new, and save the state where that is due or the run is asked to stop."""
        if progress.metrics:
            journal.append(progress.step, progress.metrics)
        stops = self.lease.is_asked_to_stop() and progress.step < self.study.steps
        self.states.keep(progress, self.lease, now=stops)
        if stops:
            raise Stopped(f"stopped at update {progress.step}, where the same command goes on")

    def finished(self, state: genlib.State, launch: Launch) -> Trained[Any]:
        """The trained run in memory, where it was trained."""
        return finished(self.study, state.result(), self.history(), state.cpu_seconds, launch.device)

    def finish(self, trained: Trained[Any], *, figures: bool = True) -> dict[str, float]:
        """Evaluate and draw what is not there yet; returns the metrics.

        The default evaluation, whose metrics `result.json` repeats, is that of the fields the run was begun with.
        """
        folder = self.evaluation_folder(trained.study)
        metrics = read_evaluation(folder, figures=figures)
        with self.claimed():
            if metrics is None:
                metrics = evaluate(trained, folder, figures=figures, check=self.lease.check)
            if folder.name == self._default_evaluation():
                self._copy_samples(folder)
                self._write_result("FINISHED", metrics=metrics, evaluation=folder.name)
        return metrics

    def _copy_samples(self, evaluation: Path) -> None:
        """Put the default evaluation's samples beside the result, unless they are there, whole."""
        if not self._has_samples_of(evaluation):
            with storage_failures(self.path):
                replace(self.path / "samples.npz", (evaluation / "samples.npz").read_bytes())

    def _has_samples_of(self, evaluation: Path) -> bool:
        copy = self.path / "samples.npz"
        return copy.exists() and file_sha256(copy) == file_sha256(evaluation / "samples.npz")

    # -- where it stands -----------------------------------------------------------------------------------------------

    def result(self) -> Result:
        """Status and metrics, from the directory alone."""
        return read_result(self.path)

    def history(self) -> History:
        """Every metric so far."""
        return read_history(self.path / "journal")

    @property
    def lease(self) -> Lease:
        """The run's lease, while it is held."""
        if self._lease is None:
            raise RuntimeError("the run is not claimed")
        return self._lease

    def note(self, text: str) -> None:
        """Tell the user something that is no failure; it goes into `result.json` too."""
        if text in self.notes:
            return
        self.notes.append(text)
        shown = scrubbed(text)
        sys.stderr.write(f"\r\033[K{shown}\n" if sys.stderr.isatty() else f"{shown}\n")

    # -- holding it ----------------------------------------------------------------------------------------------------

    @contextmanager
    def claimed(self, launch: Launch | None = None) -> Iterator[Lease]:
        """Hold the run's lease; how the block ends is how the run ends."""
        if self._lease is not None:
            yield self._lease
            return
        open_storage(self.storage)
        with storage_failures(self.path):
            if not self.taking_over:
                refuse_held(self.path / DRIVER)
            self._lease = lease = Lease.claim(self.path / "lease", drivers=self.drivers, force=self.taking_over)
        is_new = not (self.path / "study.json").exists()
        refused = False
        try:
            lease.keep()  # to load and hash the data may take long
            keep_record(self.path, self.study, self.key, self.origin and self.origin.described(), self.note)
            if self.origin is None:
                sign_in(self.storage, self.path, self.study)
            lease.keep(SystemLog(self.path / "system" / f"{lease.epoch:08d}.jsonl").look)
            yield lease
        except Fenced:
            raise
        except BaseException as error:
            if isinstance(error, InputError) and not isinstance(error, (Diverged, RunFailed)):
                refused = True
                raise  # nothing has changed
            killed = isinstance(error, (KeyboardInterrupt, SystemExit, Stopped))
            self.mark("KILLED" if killed else "FAILED", str(error) or type(error).__name__)
            raise
        finally:
            self._lease = None
            leaves = refused and is_new and not read_rows(self.path / "journal")
            if leaves:
                self._leave_nothing(lease)
            lease.release()
            if leaves and not self.path.exists():
                with suppress(OSError):
                    copies.drop(self.path)

    def _leave_nothing(self, lease: Lease) -> None:
        """Remove what a refused run has made; its driver, where it has one, removes the rest."""
        with suppress(Fenced, StorageFailed, OSError):
            lease.check()
            carrying.CARRIER.remove(self.path)
            for path in self.path.iterdir():
                if path.name not in (DRIVER, "lease"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not (self.path / DRIVER).exists():
                shutil.rmtree(self.path)

    def mark(self, status: str, message: str) -> None:
        """Record that the run stopped before its end, and how; a finished run stays finished."""
        if read_result(self.path).status != "FINISHED":
            try:
                self._write_result(status, message=message)
            except Fenced:
                return
            except StorageFailed:  # a full disk: without a result the run counts as killed
                self.note(f"{self.path} could not be marked {status}: its storage takes nothing.")

    def end_early(self, step: int) -> None:
        """Write that the run, which this process holds, was stopped early: it is finished with what it has."""
        self._write_result("FINISHED", metrics=self._metrics_so_far(), stopped_early=step)

    def take_and_mark(self, status: str, message: str, *, stopped_early: int | None = None) -> None:
        """Take the run over from a process of its driver, which is thereby fenced, and write how it ended."""
        self._lease = lease = Lease.claim(self.path / "lease", drivers=self.drivers, force=True)
        try:
            self._write_result(status, metrics=self._metrics_so_far(), message=message, stopped_early=stopped_early)
        finally:
            self._lease = None
            lease.release()

    def evaluation_folder(self, study: Study[Any]) -> Path:
        """Where the evaluation under a study's evaluation fields is kept."""
        return self.path / "evaluations" / evaluation_key(study)

    def _default_evaluation(self) -> str:
        return evaluation_key(self.study, read_json(self.path / "study.json")["fields"])

    def _metrics_so_far(self) -> dict[str, float]:
        """The newest value of every metric in the journal."""
        newest: dict[str, float] = {}
        for _, metrics in self.history().rows:
            newest |= metrics
        return newest

    def _write_result(
        self,
        status: str,
        *,
        metrics: dict[str, float] | None = None,
        evaluation: str | None = None,
        message: str = "",
        stopped_early: int | None = None,
    ) -> None:
        if self._lease is not None:
            self._lease.check()
        content: dict[str, Any] = {
            "status": status,
            "key": self.key,
            "metrics": metrics or {},
            "evaluation": evaluation,
            "message": scrubbed(message),
            "stopped_early": stopped_early,
            "notes": [scrubbed(note) for note in self.notes],
            "ended": time.time(),
        }
        with storage_failures(self.path):
            write_json(self.path / "result.json", content)


def start_anew(run: Run) -> Path | None:
    """Move a run out of the way, so that it begins again; returns where it went, None where there was none."""
    if not run.path.exists():
        return None
    refuse_written(run.path)
    return put_aside(run.path, run.storage)


def put_aside(path: Path, storage: Path) -> Path:
    """Move a run or a sweep out of the way, in the bucket too where the storage is one; returns where it went."""
    aside = set_aside(path, storage / ".aside")
    with storage_failures(path):
        copies.move(path, aside)
    return aside
