"""The states of a run on disk: which one it goes on from, and which ones are kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import genlib
from cluster import carrying
from cluster.courses import furthest_state, last_due
from cluster.files import set_aside, storage_failures
from cluster.journal import copy_rows, is_damaged, read_history, read_rows, read_segments
from cluster.lease import Lease
from cluster.opening import open_study
from genlib import CheckpointError, InputError, Launch, Progress, Study
from genlib.checkpoint import checkpoints, is_whole, load_checkpoint, save_checkpoint

KEPT = 2
"""Checkpoints kept beside the best: the newest, and one to fall back on."""
MINUTE, SHARE = 60.0, 0.02
"""Seconds of training that may be lost at most, and the share of the time that saving may cost to keep it so."""


class Origin(NamedTuple):
    """The run that another one starts from, and its update there."""

    path: Path
    key: str
    step: int

    def described(self) -> dict[str, Any]:
        """The origin as `study.json` records it."""
        return {**self._asdict(), "path": str(self.path)}


class States:
    """The checkpoints of a run directory, and the origin that it may start from.

    Arguments:
        note: says something that the user should know and nothing fails of.
    """

    def __init__(self, path: Path, study: Study[Any], origin: Origin | None, note: Callable[[str], None]) -> None:
        self.path, self.study, self.origin, self.note = path, study, origin, note
        self._best: tuple[float, int] | None = None
        self._saved, self._cost = time.monotonic(), 0.0
        self.beside = 1
        """Number of runs that this process trains as one: all of them are saved in the same time."""

    def newest(self, launch: Launch) -> genlib.State:
        """The newest whole checkpoint's state that the journal reaches; else the origin's, or the furthest one that
        another run of the same course has on file; else a new one.

        Damaged checkpoints are set aside, with a note; half-made ones are removed.
        """
        for half in (self.path / "checkpoints").glob(".step-*"):
            shutil.rmtree(half, ignore_errors=True)
        self._saved = time.monotonic()
        rows = read_rows(self.path / "journal")
        reached = rows[-1]["step"] if rows else 0
        folders = checkpoints(self.path / "checkpoints")
        for path in folders:
            if not is_whole(path):
                self.note(f"the checkpoint {path} is damaged. It is set aside as {set_aside(path).name}.")
        for path in reversed([path for path in folders if path.exists()]):
            state = load_checkpoint(path, self.study, launch)
            if last_due(self.study, state.step) <= reached:
                return state
            self.note(f"the journal ends at step {reached}, before {path.name}: these steps are computed again.")
            set_aside(path)
        if self.origin:
            return self._of_origin(launch)
        return self._passed(launch, reached if rows else self.study.steps) or genlib.start(self.study, launch)

    def _passed(self, launch: Launch, upto: int) -> genlib.State | None:
        """The furthest state of another run that this one goes through: it is kept, with the journal up to it, as if
        this run had been there itself.
        """
        found = furthest_state(self.path.parents[1], self.study, launch, besides=self.path, upto=upto)
        if found is None:
            return None
        copy_rows(found.path / "journal", self.path / "journal", upto=found.state.step)
        with storage_failures(self.path):
            save_checkpoint(self.path / "checkpoints", self.study, found.state)
        self.note(f"{self.path} takes its first {found.state.step:,} updates from {found.path}, bit for bit.")
        return found.state

    def keep(self, progress: Progress, lease: Lease, *, now: bool = False) -> None:
        """Save a checkpoint where one is due by the step or by the clock, or now, and let old ones go."""
        validated = progress.step % self.study.validate_every == 0 or progress.step == self.study.steps
        if not (validated or now or self._is_time(progress)):
            return
        folder, began = self.path / "checkpoints", time.monotonic()
        lease.check()
        with storage_failures(folder):
            save_checkpoint(folder, self.study, progress.state, check=lease.check)
            self._saved = time.monotonic()
            self._cost = self._saved - began
            best = self._best_step(progress)
            for old in checkpoints(folder)[:-KEPT]:
                if old.name != f"step-{best:08d}":
                    shutil.rmtree(old)

    def _is_time(self, progress: Progress) -> bool:
        """Whether too much would be lost by now. Between validations weights may be lost already: they are not kept."""
        if time.monotonic() - self._saved < max(MINUTE, self.beside * self._cost / SHARE):
            return False
        return all(bool(parameter.isfinite().all()) for parameter in progress.state.model.parameters())

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

    def _of_origin(self, launch: Launch) -> genlib.State:
        """The origin's state at the agreed update, its journal up to there as this run's first segment."""
        assert self.origin is not None
        carrying.settle_patiently(self.origin.path, whole=True)
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

    def _best_step(self, progress: Progress) -> int:
        """The validated step with the best objective so far. The journal is read for it once."""
        name, direction = self.study.objective
        sign = 1 if direction == "min" else -1
        if self._best is None:
            steps, values = read_history(self.path / "journal").series(name)
            self._best = min(
                ((sign * v, s) for s, v in zip(steps.tolist(), values.tolist(), strict=True)), default=None
            )
        elif name in progress.metrics:
            self._best = min(self._best, (sign * progress.metrics[name], progress.step))
        return self._best[1] if self._best else 0
