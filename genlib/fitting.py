"""Train a study here and now, and keep what a notebook wants of it."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from genlib.catalogue import views_of
from genlib.drawing import Drawing
from genlib.history import History
from genlib.study import Study
from genlib.trained import Trained
from genlib.training import Launch, start, train

S = TypeVar("S", bound=Study[Any])


def fit(study: S, launch: Launch | None = None) -> Trained[S]:
    """Train a study to its end; `evaluation` and `figures` are made when they are first asked for.

    Example:
        >>> from genlib import PointDiffusion
        >>> trained = fit(PointDiffusion.preset("tiny"))
        >>> trained.history.series("validation/loss")[0]
        array([10, 20])
    """
    launch = launch or Launch()
    state, history = start(study, launch), History()
    for progress in train(study, state, launch=launch):
        history.append(progress.step, progress.metrics)
    return finished(study, state.result(), history, state.cpu_seconds, launch.device)


def finished(study: S, model: Any, history: History, cpu_seconds: float = math.nan, device: str = "cpu") -> Trained[S]:
    """A finished run in memory, with the function that draws it."""
    return Trained(study, model, history, cpu_seconds, device, _draw)


def _draw(study: Study[Any], model: Any, history: History) -> dict[str, Drawing]:
    return views_of(type(study)).draw(study, model, history)
