"""One run is a directory: `<storage>/<study>/<key>/`, and the same study in the same storage is the same run.

    study.json      the study, whole
    journal.jsonl   every metric once, in order
    checkpoints/    the last two whole states
    evaluations/<hash of the evaluation fields>/   metrics.json, samples.npz, figures/*.png with their arrays as csv
    result.json     status and the default evaluation's metrics, written last

Running it again skips what is finished and resumes what is not; there is no other resume mechanism to learn.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import genlib
from cluster.journal import Journal, read_history
from genlib import CheckpointError, InputError, Launch, Progress, Study, Trained
from genlib.checkpoint import checkpoints, load_checkpoint, save_checkpoint

Listener = Callable[[Progress], None]
KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class Run:
    """A study in a storage folder: trained, evaluated, opened again."""

    def __init__(self, study: Study[Any], storage: str | Path) -> None:
        self.study, self.storage = study, Path(storage)
        self.path = Path(storage) / study.title() / study.key()

    def train(self, launch: Launch | None = None, listener: Listener | None = None) -> Trained[Any]:
        """Train to the end, from the newest whole checkpoint if there is one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / "study.json").exists():
                _write_json(self.path / "study.json", describe(self.study))
        except OSError as error:
            raise InputError(
                f"the storage {self.storage} cannot be written ({error.strerror}): give another."
            ) from error
        journal = Journal(self.path / "journal.jsonl")
        state = self._newest(launch) or genlib.start(self.study, launch)
        for progress in genlib.train(self.study, state, launch=launch):
            journal.append(progress.step, progress.metrics)
            if progress.step % self.study.validate_every == 0 or progress.step == self.study.steps:
                save_checkpoint(self.path / "checkpoints", self.study, state)
                for old in checkpoints(self.path / "checkpoints")[:-KEPT]:
                    shutil.rmtree(old)
            if listener:
                listener(progress)
        return Trained(self.study, state.result(), read_history(self.path / "journal.jsonl"), state.cpu_seconds)

    def finish(self, trained: Trained[Any], *, figures: bool = True) -> dict[str, float]:
        """Evaluate and draw what is not there yet; returns the metrics.

        The default evaluation, whose metrics `result.json` repeats, is that of the fields the run was first asked with.
        """
        folder = self.path / "evaluations" / evaluation_key(self.study.fields(), self.study)
        if not (folder / "metrics.json").exists():
            self._evaluate(trained, folder)
        metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
        if figures and not (folder / "figures").exists():
            _draw(trained, folder)
        described = json.loads((self.path / "study.json").read_text())
        if folder.name == evaluation_key(described["fields"], self.study):
            shutil.copyfile(folder / "samples.npz", self.path / "samples.npz")
            result = {"status": "FINISHED", "key": self.study.key(), "metrics": metrics, "evaluation": folder.name}
            _write_json(self.path / "result.json", result)
        return metrics

    def _evaluate(self, trained: Trained[Any], folder: Path) -> None:
        (metrics, samples, tables) = trained.evaluation
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "samples.npz", "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **samples)
        for name, rows in tables.items():
            _write_json(folder / f"{name}.json", rows)
        speed = {
            "cpu_seconds": trained.cpu_seconds,
            "updates_per_cpu_second": self.study.steps / trained.cpu_seconds,
        }
        _write_json(folder / "metrics.json", metrics | speed)  # written last: with it the evaluation is done

    def _newest(self, launch: Launch | None) -> genlib.State | None:
        """The newest whole checkpoint's state; damaged ones are set aside."""
        for path in reversed(checkpoints(self.path / "checkpoints")):
            try:
                return load_checkpoint(path, self.study, launch)
            except CheckpointError as error:
                aside = path.with_name(f"damaged-{path.name}-{time.time_ns()}")
                path.rename(aside)
                sys.stderr.write(f"{error} It is set aside as {aside.name}.\n")
        return None


def evaluation_key(fields: dict[str, Any], study: Study[Any]) -> str:
    """A short hash of the evaluation fields among a study's fields."""
    training = study.identity()["fields"]
    looks = {name: value for name, value in fields.items() if name not in training}
    return hashlib.sha256(json.dumps(looks, sort_keys=True).encode()).hexdigest()[:12]


def describe(study: Study[Any]) -> dict[str, Any]:
    """What made the numbers: the study, whole, and the versions and machine it ran on."""
    return {
        **study.identity(),
        "fields": study.fields(),
        "key": study.key(),
        "packages": {"python": platform.python_version(), "torch": torch.__version__, "genlib": genlib.__version__},
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
    }


def open_run(path: str | Path) -> Trained[Any]:
    """A finished run's study, model and history, for a notebook."""
    path = Path(path)
    try:
        described = json.loads((path / "study.json").read_text())
        module, _, name = described["study"].partition(":")
        fields = dict(described["fields"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no run directory: its study.json cannot be read ({error}).") from error
    study: Study[Any] = getattr(importlib.import_module(module), name)(**fields)
    found = checkpoints(path / "checkpoints")
    if not found:
        raise InputError(f"{path} holds no checkpoint yet: run its study first.")
    state = load_checkpoint(found[-1], study)
    if state.step < study.steps:
        raise InputError(f"{path} is at update {state.step} of {study.steps}: run its study to the end first.")
    return Trained(study, state.result(), read_history(path / "journal.jsonl"), state.cpu_seconds)


def _draw(trained: Trained[Any], folder: Path) -> None:
    """Draw aside and rename: a folder of figures is a whole one."""
    aside = folder / f".figures.{os.getpid()}"
    aside.mkdir(exist_ok=True)
    for name, (figure, arrays) in trained.figures.items():
        figure.savefig(aside / f"{name}.png")
        for key, array in arrays.items():
            safe = "".join(c if c.isalnum() else "_" for c in key).strip("_")
            np.savetxt(aside / f"{name}.{safe}.csv", np.atleast_2d(array), delimiter=",", fmt="%.6g")
    os.rename(aside, folder / "figures")


def _write_json(path: Path, content: Any) -> None:
    """Replace a file whole: a crash leaves the old one or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(aside, "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
