"""A figure with its numbers, and the type of the functions that draw a finished run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """A figure and the arrays it shows."""

    figure: Figure
    arrays: dict[str, np.ndarray]


Draw: TypeAlias = Callable[..., dict[str, Drawing]]
"""(study, model, history) → figures by name."""
