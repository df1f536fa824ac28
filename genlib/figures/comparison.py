"""A sweep at a glance: one metric across one field, a line per value of another, a panel per value of a third."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from genlib.figures.style import CLASSES, INK, panels, styled
from genlib.intervals import mean_interval

MARKS = "osD^vPX*"


@styled
def comparison(
    rows: Sequence[tuple[float, Any, Any, Sequence[float]]],
    *,
    names: tuple[str, str, str | None],
    metric: str,
    floor: float | None = None,
) -> Figure:
    """Rows of (across, by, panel, metric values: one per seed) as lines; several seeds as mean and 95 % interval.

    Arguments:
        names: the fields behind across, by and panel.
        floor: what a perfect model would reach.
    """
    across, by, panel = names
    shown = list(dict.fromkeys(row[2] for row in rows))
    figure, axes = panels(1, len(shown), size=(4.4, 3.8))
    places = sorted({row[0] for row in rows})
    values = [value for row in rows for value in row[3]] + ([floor] if floor else [])
    for ax, value in zip(axes, shown, strict=True):
        for k, line in enumerate(dict.fromkeys(row[1] for row in rows)):
            points = sorted((row[0], row[3]) for row in rows if row[1] == line and row[2] == value)
            if not points:
                continue  # stopped early, say
            color, xs = CLASSES[k % len(CLASSES)], [place for place, _ in points]
            means, lows, highs = zip(*(mean_interval(seeds) for _, seeds in points), strict=True)
            ax.plot(xs, means, MARKS[k % 8] + "-", color=color, ms=5, label=str(line))
            if math.isfinite(max(highs)):
                ax.vlines(xs, [max(low, 1e-12) for low in lows], highs, color=color, lw=1.2)
        if floor:
            ax.axhline(floor, color=INK, ls="--", lw=1.2, label="real against real")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(min(values) * 0.85, max(values) * 1.2)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter("")
        ax.xaxis.set_major_locator(FixedLocator(places))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{place:g}" for place in places])
        ax.set_xlabel(across.replace("_", " "))
        if panel:
            ax.set_title(f"{panel.replace('_', ' ')} = {value}")
    axes[0].set_ylabel(metric.replace("_", " "))
    axes[-1].legend(title=by, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure
