"""A sweep at a glance: one metric across one field, a line per value of another, a panel per value of a third."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from genlib.figures.style import CLASSES, INK, panels, styled
from genlib.intervals import mean_interval
from genlib.settings import digits

MARKS = "osD^vPX*"
WIDE = 3
"""Ratio of largest to smallest value from which an axis is logarithmic."""
FEW = 8
"""Number of places up to which each has a tick, and lines join them; more are drawn values."""
APART = 0.07
"""Distance of neighbouring ticks, as a share of the axis, below which their labels would overlap."""


class Row(NamedTuple):
    """A setting: its place on the horizontal axis, its line, its panel, and the metric for each seed."""

    across: Any
    by: Any
    panel: Any
    values: Sequence[float]


@styled
def comparison(
    rows: Sequence[Row],
    *,
    names: tuple[str, str, str | None],
    metric: str,
    floor: float | None = None,
    best: Row | None = None,
) -> Figure:
    """Settings as lines; several seeds as mean and 95 % interval. An axis is logarithmic where its values allow it.

    Places that are no numbers stand side by side, in the order of the rows; neither they nor drawn values are joined.
    An interval that ends without a cap reaches beyond the view.

    Arguments:
        names: the fields behind across, by and panel.
        floor: what a perfect model would reach.
        best: the setting to put a ring around.
    """
    across, by, panel = names
    rows = _finite(rows)
    best = next(iter(_finite([best] if best else [])), None)
    floor = floor if floor is not None and math.isfinite(floor) else None
    shown = list(dict.fromkeys(row.panel for row in rows)) or [None]
    figure, axes = panels(1, len(shown), size=(4.4, 3.8))
    if not rows:
        axes[0].set_title(f"no setting has a finite {metric.replace('_', ' ')}")
        return figure
    words = [str(place) for place in dict.fromkeys(row.across for row in rows)]
    numeric = all(isinstance(row.across, (int, float)) and not isinstance(row.across, bool) for row in rows)
    lines = list(dict.fromkeys(row.by for row in rows))
    joined = "-" if numeric and len(words) <= FEW else ""

    def place(row: Row) -> float:
        if numeric:
            return float(row.across)
        return words.index(str(row.across)) + 0.5 * ((lines.index(row.by) + 0.5) / len(lines) - 0.5)

    for ax, value in zip(axes, shown, strict=True):
        for k, line in enumerate(lines):
            points = sorted(
                (place(row), mean_interval(row.values)) for row in rows if (row.by, row.panel) == (line, value)
            )
            if not points:
                continue  # stopped early, say
            colour = CLASSES[k % len(CLASSES)]
            ax.plot(
                [x for x, _ in points], [mean for _, (mean, *_) in points], MARKS[k % 8] + joined,
                color=colour, ms=5, label="_",
            )  # fmt: skip
            for x, (_, low, high) in points:
                if math.isfinite(high - low):
                    ax.plot([x, x], [low, high], "_-", color=colour, lw=1.2, ms=5)
        if best is not None and best.panel == value:
            ax.plot(
                place(best), mean_interval(best.values)[0], "o", ms=13, mfc="none", mec=INK, mew=1.2, label="the best"
            )  # fmt: skip
        if floor is not None:
            ax.axhline(floor, color=INK, ls="--", lw=1.2, label="real against real")
        _scale_metric(ax, [value for row in rows for value in row.values] + ([] if floor is None else [floor]))
        if numeric:
            _scale_places(ax, sorted({float(row.across) for row in rows}))
        else:
            many = len(words) > 4
            ax.set_xticks(range(len(words)), words, rotation=30 if many else 0, ha="right" if many else "center")
            ax.set_xlim(-0.5, len(words) - 0.5)
        ax.set_xlabel(across.replace("_", " "))
        if panel:
            ax.set_title(f"{panel.replace('_', ' ')} = {digits(value)}")
    axes[0].set_ylabel(metric.replace("_", " "))
    keys: list[Artist] = [
        Line2D([], [], color=CLASSES[k % 8], marker=MARKS[k % 8], ls=joined or "none", ms=5) for k in range(len(lines))
    ]
    words = [digits(line) for line in lines]
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            if label not in words:
                keys, words = [*keys, handle], [*words, label]
    axes[-1].legend(keys, words, title=by.replace("_", " "), loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _finite(rows: Sequence[Row]) -> list[Row]:
    """The rows without values that are not finite; none that has no others."""
    kept = [row._replace(values=[value for value in row.values if math.isfinite(value)]) for row in rows]
    return [row for row in kept if row.values]


def _scale_metric(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where all values are positive and far apart; every value is inside the view."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high / low >= WIDE:
        axes.set_yscale("log")
        axes.set_ylim(low * 0.85, high * 1.2)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        _plain_numbers(axes.yaxis)
    else:
        room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)


def _scale_places(axes: Axes, places: Sequence[float]) -> None:
    """A logarithmic axis where the places allow it, one of them perhaps zero; a tick at each, where that is legible."""
    positive = [place for place in places if place > 0]
    wide = bool(positive) and positive[-1] / positive[0] >= WIDE
    if wide and len(positive) == len(places):
        axes.set_xscale("log")
    elif wide and places[0] == 0:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        axes.set_xlim(-0.4 * positive[0], places[-1] * (places[-1] / positive[0]) ** 0.1)
    spots = axes.transData.transform([(place, axes.get_ylim()[0]) for place in places])[:, 0]
    if len(places) <= FEW and all(right - left >= APART * axes.bbox.width for left, right in pairwise(spots)):
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{place:g}" for place in places])
    elif axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if places[-1] / places[0] < 20 else (1,)))
        _plain_numbers(axes.xaxis)


def _plain_numbers(axis: Axis) -> None:
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter("")
