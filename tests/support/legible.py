"""What a reader of a figure could not read: words cut off by the canvas, words over words."""

from __future__ import annotations

from functools import wraps
from itertools import combinations
from typing import Any
from unittest import mock

from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

Word = tuple[str, Bbox]
"""A text or legend and the place that it takes, in pixels."""


def words(figure: Figure) -> list[Word]:
    """Every text that rendering the figure draws, and every legend."""
    drawn, original = list[Text](), Text.draw

    @wraps(original)
    def draw(text: Text, *args: Any, **kwargs: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn.append(text)
        original(text, *args, **kwargs)

    with mock.patch.object(Text, "draw", draw):
        figure.draw_without_rendering()
    found = [(text.get_text(), text.get_window_extent()) for text in drawn]
    legends = [legend for legend in figure.findobj(Legend) if legend.get_visible()]
    return found + [("legend", legend.get_window_extent()) for legend in legends]


def cut(figure: Figure, found: list[Word] | None = None, *, slack: float = 1.0) -> list[str]:
    """The words that reach beyond the canvas by more than `slack` pixels; `found` are words that are known already."""
    found, canvas = found or words(figure), figure.bbox
    return [
        word
        for word, box in found
        if min(box.x0 - canvas.x0, box.y0 - canvas.y0, canvas.x1 - box.x1, canvas.y1 - box.y1) < -slack
    ]


def overlaid(figure: Figure, found: list[Word] | None = None, *, slack: float = 1.0) -> list[tuple[str, str]]:
    """The pairs of words that lie over each other by more than `slack` pixels both ways."""
    found = [(word, box) for word, box in found or words(figure) if word != "legend"]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(found, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack
    ]
