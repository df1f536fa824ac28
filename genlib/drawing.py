"""A figure with its numbers, and the type of the functions that draw a finished run."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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


class Film(Drawing):
    """A drawing that also moves.

    Arguments:
        frames: pictures, one after the other, as bytes (t, h, w, 3).
    """

    frames: np.ndarray

    def __new__(cls, figure: Figure, arrays: dict[str, np.ndarray], frames: np.ndarray) -> Film:
        film = super().__new__(cls, figure, arrays)
        film.frames = frames
        return film

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (*self, self.frames)  # so that it can be copied

    def save(self, path: Path, *, milliseconds: int = 120, pause: int = 1_500) -> None:
        """Write the frames as a GIF that begins anew after a pause."""
        from PIL import Image

        first, *others = [Image.fromarray(frame).quantize(128, dither=Image.Dither.NONE) for frame in self.frames]
        durations = [milliseconds] * len(others) + [pause]
        first.save(path, save_all=True, append_images=others, duration=durations, loop=0)


Draw: TypeAlias = Callable[..., dict[str, Drawing]]
"""(study, model, history) → figures by name."""
