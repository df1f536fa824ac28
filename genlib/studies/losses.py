"""The figure that every study with a training loss has."""

from __future__ import annotations

from typing import Any

import numpy as np

from genlib.drawing import Drawing
from genlib.figures import curves
from genlib.history import History
from genlib.study import Study


def draw_loss(history: History, *, label: str, training: str | None = "loss", floor: float | None = None) -> Drawing:
    """Training and validation loss by update.

    Arguments:
        training: the metric to show as the training loss; None where there is none to compare with validation.
        floor: the loss that no model gets below on fresh data.
    """
    steps, losses = history.series(training or "loss")
    if training is None:
        steps, losses = steps[:0], losses[:0]
    validation_steps, validation = history.series("validation/loss")
    figure = curves.loss_curve(steps, losses, validation_steps, validation, floor=floor, label=label)
    return Drawing(
        figure,
        {"training": np.column_stack((steps, losses)), "validation": np.column_stack((validation_steps, validation))},
    )


def draw(study: Study[Any], model: Any, history: History) -> dict[str, Drawing]:
    """The losses alone: the figure of a study that brings none of its own."""
    return {"loss": draw_loss(history, label="loss")}
