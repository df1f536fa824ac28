"""The figure that every study with a training and a validation loss has."""

from __future__ import annotations

import numpy as np

from genlib.figures import curves
from genlib.history import History
from genlib.study import Drawing


def draw_loss(history: History, *, label: str, training: str | None = "loss", floor: float | None = None) -> Drawing:
    """Training and validation loss by update.

    Arguments:
        training: the metric to show as the training loss; None where there is none to compare with validation.
        floor: what no model gets under on fresh data.
    """
    steps, losses = history.series(training or "loss")
    if training is None:
        steps, losses = steps[:0], losses[:0]
    at, validation = history.series("validation/loss")
    figure = curves.loss_curve(steps, losses, at, validation, floor=floor, label=label)
    return Drawing(
        figure, {"training": np.column_stack((steps, losses)), "validation": np.column_stack((at, validation))}
    )
