"""A run directory opened: its study, and the trained model it holds.

A directory is data. Reading one imports nothing that its text names: only studies of the catalogue are built, and those
that the process was handed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from cluster import carrying
from cluster.directory import read_result
from cluster.evaluations import KeptEvaluations
from cluster.files import Damaged, read_json
from cluster.journal import read_history
from cluster.record import rebuild
from cluster.storage import find_run, storage_from
from genlib import InputError, Study, Trained
from genlib.checkpoint import checkpoints, load_checkpoint
from genlib.fitting import finished
from genlib.needs import current_lender, kept, lending
from genlib.own import adopt


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
