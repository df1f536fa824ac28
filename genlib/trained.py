"""A finished run in memory: what a notebook, a claim and a figure look at."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import torch

from genlib.drawing import Draw, Drawing
from genlib.history import History
from genlib.study import Evaluation, Study

S = TypeVar("S", bound=Study[Any])


class Kept(Protocol):
    """Where measurements and figures of a finished run are kept."""

    def evaluation(self, study: Study[Any]) -> Evaluation | None:
        """What was measured under a study's evaluation fields; None where nothing was."""

    def figures(self, study: Study[Any]) -> dict[str, Drawing]:
        """What was drawn of it."""


@dataclass(repr=False, eq=False)
class Trained(Generic[S]):
    """A finished run in memory: the study, the model to look at, what was reported on the way. No two are equal.

    Arguments:
        device: where the model is, and where it is measured and drawn.
        draw: the function that makes its figures; `genlib.catalogue` knows which belongs to a study.
        surroundings: a context to measure and draw in: it lends the models that the study needs.
        kept: what was measured and drawn before, where that is kept somewhere.
    """

    study: S
    model: Any
    history: History
    cpu_seconds: float = math.nan
    device: str = "cpu"
    draw: Draw | None = None
    surroundings: Callable[[], AbstractContextManager[None]] = nullcontext
    kept: Kept | None = None

    def __repr__(self) -> str:
        return f"Trained({type(self.study).__name__} {self.study.key()}, {len(self.history.rows)} reports)"

    @cached_property
    def evaluation(self) -> Evaluation:
        """The study's full metrics: those kept, or measured now."""
        if self.kept and (evaluation := self.kept.evaluation(self.study)):
            return evaluation
        with self.surroundings(), torch.device(self.device):
            return self.study.evaluate(self.model, self.study.draws("evaluate"))

    @cached_property
    def figures(self) -> dict[str, Drawing]:
        """The study's figures: those kept, or drawn now."""
        if self.kept and (figures := self.kept.figures(self.study)):
            return figures
        with self.surroundings(), torch.device(self.device):
            return self.draw(self.study, self.model, self.history) if self.draw else {}
