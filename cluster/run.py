"""Doing a run: a study in a storage folder is trained, evaluated and marked, in `<storage>/<study or sweep>/<key>/`.

The same study there is the same run. Doing it again skips what is finished and resumes what is not; there is no other
resume mechanism to learn. What its directory holds, and how it is read, is `cluster.directory`'s.
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
from typing import Any, NamedTuple

import genlib
from cluster.directory import DRIVER, Result, has_writer, open_study, read_result
from cluster.evaluations import evaluate, evaluation_key, looks_of, read_evaluation
from cluster.files import (
    Damaged,
    RunFailed,
    StorageFailed,
    read_json,
    scrubbed,
    set_aside,
    storage_failures,
    write_json,
)
from cluster.journal import Journal, copy_rows, is_damaged, read_history, read_rows, read_segments
from cluster.lease import Fenced, Held, Lease, refuse_held
from cluster.record import describe, rebuild, source_hash
from cluster.storage import open_storage
from cluster.system import SystemLog
from genlib import CheckpointError, Diverged, History, InputError, Launch, Progress, Study, Trained
from genlib.checkpoint import checkpoints, is_whole, load_checkpoint, save_checkpoint
from genlib.fitting import finished
from genlib.own import adopt, provenance

Listener = Callable[[Progress], None]
KEPT = 2
"""Checkpoints kept beside the best: the newest, and one to fall back on."""


class Origin(NamedTuple):
    """The run that another one starts from, and its update there."""

    path: Path
    key: str
    step: int


class Run:
    """A study in a storage folder: trained, evaluated, opened again.

    Arguments:
        sweep: the sweep that the run belongs to; a run of no sweep is filed under its study.
        origin: the run whose state this one starts from; part of what it is, so of its key.
        taking_over: claim it from a living process too. Only for one who knows that process to be an orphan.
    """

    def __init__(
        self,
        study: Study[Any],
        storage: str | Path,
        *,
        sweep: str | None = None,
        origin: Origin | None = None,
        taking_over: bool = False,
    ) -> None:
        adopt(type(study))
        self.study, self.storage = study, Path(storage).absolute()
        self.sweep, self.origin, self.taking_over = sweep, origin, taking_over
        self.key = study.key()
        if origin:
            self.key = hashlib.sha256(f"{self.key} from {origin.key} at {origin.step}".encode()).hexdigest()[:12]
        self.path = self.storage / (sweep or study.title()) / self.key
        self.notes: list[str] = []
        self._lease: Lease | None = None
        self._best: tuple[float, int] | None = None

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
        try:
            rebuild(read_json(self.path / "study.json"), self.path)
        except (FileNotFoundError, Damaged, InputError):
            return None
        result = self.result()
        rows = read_rows(self.path / "journal") if result.status == "FINISHED" else []
        if not rows or rows[-1]["step"] != self.study.steps or not checkpoints(self.path / "checkpoints"):
            return None
        evaluations = [read_evaluation(self.evaluation_folder(look), figures=figures) for look in looks]
        if not all(map(is_whole, checkpoints(self.path / "checkpoints"))):
            return None
        return None if None in evaluations else [metrics for metrics in evaluations if metrics is not None]

    def train(
        self, launch: Launch | None = None, listener: Listener | None = None, *, any_device: bool = False
    ) -> Trained[Any]:
        """Train to the end, from the newest whole checkpoint if there is one."""
        launch = launch or Launch()
        with self.claimed(launch) as lease:
            self.refuse_other_device(launch, any_device)
            state = self.newest_state(launch)
            journal = Journal(self.path / "journal", lease, device=launch.kind, workers=launch.world)
            for progress in genlib.train(self.study, state, launch=launch):
                journal.append(progress.step, progress.metrics)
                self.keep(progress)
                if listener:
                    listener(progress)
            return self.finished(state, launch)

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
                metrics = evaluate(trained, folder, figures=figures)
            if folder.name == self._default_evaluation():
                with storage_failures(self.path):
                    shutil.copyfile(folder / "samples.npz", self.path / "samples.npz")
                self._write_result("FINISHED", metrics=metrics, evaluation=folder.name)
        return metrics

    def keep(self, progress: Progress) -> None:
        """Save a checkpoint where one is due, and let old ones go."""
        if progress.step % self.study.validate_every and progress.step != self.study.steps:
            return
        folder = self.path / "checkpoints"
        self.lease.check()
        with storage_failures(folder):
            save_checkpoint(folder, self.study, progress.state)
            best = self._best_step(progress)
            for old in checkpoints(folder)[:-KEPT]:
                if old.name != f"step-{best:08d}":
                    shutil.rmtree(old)

    # -- where it stands -----------------------------------------------------------------------------------------------

    def result(self) -> Result:
        """Status and metrics, from the directory alone."""
        return read_result(self.path)

    def newest_state(self, launch: Launch) -> genlib.State:
        """The newest whole checkpoint's state that the journal reaches; else the origin's; else a new one.

        Damaged checkpoints are set aside, with a note.
        """
        rows = read_rows(self.path / "journal")
        reached = rows[-1]["step"] if rows else 0
        folders = checkpoints(self.path / "checkpoints")
        for path in folders:
            if not is_whole(path):
                self.note(f"the checkpoint {path} is damaged. It is set aside as {set_aside(path).name}.")
        for path in reversed([path for path in folders if path.exists()]):
            state = load_checkpoint(path, self.study, launch)
            if state.step <= reached:
                return state
            self.note(f"the journal ends at step {reached}, before {path.name}: these steps are computed again.")
            set_aside(path)
        return self._state_of_origin(launch) if self.origin else genlib.start(self.study, launch)

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
        self.notes.append(text)
        sys.stderr.write(f"\r\033[K{text}\n" if sys.stderr.isatty() else f"{text}\n")

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
            self._lease = lease = Lease.claim(self.path / "lease", force=self.taking_over)
        try:
            self._describe()
            lease.keep(SystemLog(self.path / "system" / f"{lease.epoch:08d}.jsonl").look)
            yield lease
        except Fenced:
            raise
        except BaseException as error:
            if isinstance(error, InputError) and not isinstance(error, (Diverged, RunFailed)):
                raise  # refused, so nothing has changed
            killed = isinstance(error, (KeyboardInterrupt, SystemExit))
            self.mark("KILLED" if killed else "FAILED", str(error) or type(error).__name__)
            raise
        finally:
            self._lease = None
            lease.release()

    def mark(self, status: str, message: str) -> None:
        """Record that the run stopped before its end, and how; a finished run stays finished."""
        if read_result(self.path).status != "FINISHED":
            try:
                self._write_result(status, message=message)
            except Fenced:
                return
            except StorageFailed:  # a full disk: without a result the run counts as killed
                self.note(f"{self.path} could not be marked {status}: its storage takes nothing.")

    def take_and_mark(self, status: str, message: str, *, stopped_early: int | None = None) -> None:
        """Take the run over from whoever writes it, who is thereby fenced, and write how it ended."""
        self._lease = lease = Lease.claim(self.path / "lease", force=True)
        try:
            self._write_result(status, metrics=self._metrics_so_far(), message=message, stopped_early=stopped_early)
        finally:
            self._lease = None
            lease.release()

    def _describe(self) -> None:
        """Write `study.json`, or say what has changed since."""
        path = self.path / "study.json"
        try:
            known = read_json(path)
            rebuild(known, self.path)
            own, before = provenance(type(self.study)), known.get("own") or {}
            for whose, then, now in (
                ("genlib", known["source"], source_hash()),
                (type(self.study).__name__, before.get("source", ""), own.source if own else ""),
            ):
                if then != now:
                    self.note(
                        f"{whose}'s source has changed since {self.path} began ({then or 'unknown'}, now "
                        f"{now or 'unknown'}): numbers may differ; --fresh starts anew."
                    )
            return
        except FileNotFoundError:
            pass
        except Damaged as error:
            self.note(f"{error} It is set aside as {set_aside(path).name}.")
        origin = (
            {"path": str(self.origin.path), "key": self.origin.key, "step": self.origin.step} if self.origin else None
        )
        with storage_failures(path):
            write_json(path, {**describe(self.study), "key": self.key, "origin": origin})

    def refuse_other_device(self, launch: Launch, any_device: bool) -> None:
        """Raise where another kind of device began the run, unless `any_device`; note where the journal is damaged."""
        segments = read_segments(self.path / "journal")
        if segments and (began := segments[-1].head.get("device", launch.kind)) != launch.kind and not any_device:
            raise InputError(
                f"{self.path} was begun on {began}, and this is {launch.kind}: bits will differ from here on; "
                "--any-device continues nevertheless, --fresh starts anew."
            )
        if is_damaged(self.path / "journal"):
            rows = read_rows(self.path / "journal")
            last = rows[-1]["step"] if rows else 0
            self.note(f"the journal of {self.path} is damaged after step {last}: these steps are computed again.")

    def _state_of_origin(self, launch: Launch) -> genlib.State:
        """The origin's state at the agreed update, its journal up to there as this run's first segment."""
        assert self.origin is not None
        old = open_study(self.origin.path)
        state = genlib.start(self.study, launch)
        if old.checksums() != self.study.checksums():
            raise InputError(f"{self.study.title()} cannot start from {self.origin.path}: that run is of other data.")
        folder = self.origin.path / "checkpoints" / f"step-{self.origin.step:08d}"
        try:
            state.restore(load_checkpoint(folder, old, launch).capture())
        except CheckpointError:
            raise
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{self.study.title()} cannot start from {self.origin.path}: its model or optimizer is another; "
                "change only fields that leave the model as it is."
            ) from error
        for group, rate in zip(state.optimizer.param_groups, state.rates, strict=True):
            group["lr"] = rate
        copy_rows(self.origin.path / "journal", self.path / "journal", upto=self.origin.step)
        return state

    def evaluation_folder(self, study: Study[Any]) -> Path:
        """Where the evaluation under a study's evaluation fields is kept."""
        return self.path / "evaluations" / evaluation_key(study)

    def _default_evaluation(self) -> str:
        return evaluation_key(self.study, read_json(self.path / "study.json")["fields"])

    def _best_step(self, progress: Progress) -> int:
        """The validated step with the best objective so far. The journal is read for it once."""
        name, direction = self.study.objective
        sign = 1 if direction == "min" else -1
        if self._best is None:
            steps, values = self.history().series(name)
            self._best = min(
                ((sign * v, s) for s, v in zip(steps.tolist(), values.tolist(), strict=True)), default=None
            )
        elif name in progress.metrics:
            self._best = min(self._best, (sign * progress.metrics[name], progress.step))
        return self._best[1] if self._best else 0

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
            "notes": self.notes,
            "ended": time.time(),
        }
        with storage_failures(self.path):
            write_json(self.path / "result.json", content)


def start_anew(run: Run) -> Path | None:
    """Move a run out of the way, so that it begins again; returns where it went, None where there was none."""
    if not run.path.exists():
        return None
    if has_writer(run.path):
        raise InputError(f"{run.path} is being written by a living process: end that before starting it anew.")
    return set_aside(run.path, run.storage / ".aside")


def kill_unfinished(runs: Sequence[Run], why: str) -> None:
    """Mark every run that has begun and not ended, whoever writes it: that process is thereby fenced."""
    for run in runs:
        if read_result(run.path).status in ("RUNNING", "KILLED"):
            with suppress(Held, StorageFailed, OSError):  # the others are marked all the same
                run.take_and_mark("KILLED", why)
