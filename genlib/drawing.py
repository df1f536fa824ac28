"""A figure with its numbers, and the type of the functions that draw a finished run."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """A figure and the arrays it shows. A notebook shows the picture."""

    figure: Figure
    arrays: dict[str, np.ndarray]

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"Drawing({arrays})"

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.figure.savefig(content, format="png")
        return content.getvalue()


Draw: TypeAlias = Callable[..., dict[str, Drawing]]
"""(study, model, history) → figures by name."""
