"""What a study needs is a run like any other, in the same storage: trained first if it is not there, shared by all.

A study names what it needs (`needs`, `evaluation_needs`) and asks `genlib.needs` for it; here such models are lent from
the runs of a storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from cluster.directory import DRIVER
from cluster.lease import Fenced, Held, wait_for_lapse
from cluster.opening import open_run
from cluster.run import Run
from genlib import Study
from genlib.needs import lending
from genlib.training import one_thread


def needs_of(studies: Iterable[Study[Any]], *, evaluated: bool = True) -> list[Study[Any]]:
    """Every study whose trained model these studies need, each once and after what it needs itself."""
    needed: dict[Study[Any], None] = {}
    for study in studies:
        needs = study.needs() | (study.evaluation_needs() if evaluated else {})
        needed |= dict.fromkeys([*needs_of(needs.values(), evaluated=False), *needs.values()])
    return list(needed)


def train_needs(studies: Iterable[Study[Any]], storage: Path, *, evaluated: bool = True) -> None:
    """Train what these studies need, in the same storage; what is there already is shared."""
    with lending_from(storage):
        for need in needs_of(studies, evaluated=evaluated):
            train_need(Run(need, storage))


def is_trained(run: Run) -> bool:
    """Whether a run has its model, whole."""
    return run.known((), figures=False) is not None


def train_need(run: Run) -> Run:
    """A finished run: it was there, or is trained now, here or by another process that needs it too."""
    while not is_trained(run):
        wait_for_lapse(run.path / "lease", run.path / DRIVER)
        with suppress(Held, Fenced), torch.enable_grad(), torch.device("cpu"), one_thread():
            run.execute(figures=False)
    return run


@contextmanager
def lending_from(storage: Path) -> Iterator[None]:
    """Let studies have the models that they need from runs of this storage, trained there on first use."""
    lent: dict[Study[Any], Any] = {}

    def lend(study: Study[Any]) -> Any:
        if study not in lent:
            lent[study] = open_run(train_need(Run(study, storage)).path).model
        return lent[study]

    with lending(lend):
        yield
