"""Trained models that a study works with: a teacher that it is trained with, a judge that it is measured with.

A study names them (`needs`, `evaluation_needs`) and asks for one where it uses it: `needed(self, "judge")`. Who lends
it is no affair of the study's. The run service lends the runs of its storage; without it the model is trained on first
use, by the same loop as every other, and kept in the data folder.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch

from genlib.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from genlib.data.files import data_folder
from genlib.errors import CheckpointDamaged, CheckpointError
from genlib.study import Study
from genlib.training import one_thread, start, train

Lender = Callable[[Study[Any]], Any]
"""Study → its trained model, on the CPU."""
_lender: ContextVar[Lender | None] = ContextVar("lender", default=None)


@contextmanager
def lending(lender: Lender) -> Iterator[None]:
    """Have `needed` ask this lender for models."""
    before = _lender.set(lender)
    try:
        yield
    finally:
        _lender.reset(before)


def current_lender() -> Lender | None:
    """Who lends at present."""
    return _lender.get()


def needed(study: Study[Any], name: str, device: torch.device | str | None = None) -> Any:
    """The trained model that a study needs under a name, on a device or on torch's default one."""
    wanted = (study.needs() | study.evaluation_needs())[name]
    model = (_lender.get() or kept)(wanted)
    device = torch.device(device or torch.get_default_device())
    return model if device.type == "cpu" else copy.deepcopy(model).to(device)


def untrained(study: Study[Any]) -> Any:
    """A lender for where only shapes matter: it gives the model before its first update."""
    return study.model().eval().requires_grad_(False)


def lends_stand_ins() -> bool:
    """Whether models are lent before their first update, because only shapes matter."""
    return _lender.get() is untrained


@cache
def kept(study: Study[Any]) -> Any:
    """The trained model, kept in the data folder (in the home where that may only be read); trained on first use."""
    folders = [shelf / "trained" / study.title() / study.key() for shelf in (data_folder(), _home())]
    for path in (path for folder in folders for path in checkpoints(folder)):
        try:
            state = load_checkpoint(path, study)
        except CheckpointDamaged:
            shutil.rmtree(path, ignore_errors=True)
        except CheckpointError:  # its source has changed since
            continue
        else:
            return state.result()
    state = start(study)
    with torch.enable_grad(), torch.device("cpu"), one_thread():
        for _ in train(study, state):
            pass
    for folder in folders:
        try:
            save_checkpoint(folder, study, state)
            break
        except OSError:
            continue
    return state.result()


def _home() -> Path:
    return Path.home() / ".cache" / "genlib"
