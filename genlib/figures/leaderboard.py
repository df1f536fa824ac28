"""Methods side by side: quality across a cost, a line per method, a row per density, a column per metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from genlib.figures.style import CLASSES, INK, panels, styled
from genlib.intervals import mean_interval

MARKS = "osD^vPX*"
Line = Mapping[float, Sequence[float]]
"""Cost → a value per seed."""


@styled
def quality(
    lines: Mapping[str, Mapping[str, Mapping[str, Line]]],
    *,
    cost: str,
    metrics: Mapping[str, tuple[str, float]],
    costs: Sequence[float],
) -> Figure:
    """Means over seeds with their 95 % intervals.

    Arguments:
        lines: density → method → metric → line. A method that has one cost alone is drawn as a point.
        cost: label of the horizontal axis.
        metrics: name → (its label, what a perfect model reaches).
        costs: ticks of the horizontal axis.
    """
    figure, axes = panels(len(lines), len(metrics), size=(4.0, 2.9))
    for row, (density, methods) in enumerate(lines.items()):
        for column, (metric, (label, perfect)) in enumerate(metrics.items()):
            ax = axes[row * len(metrics) + column]
            for k, (method, by_metric) in enumerate(methods.items()):
                _draw(ax, by_metric[metric], k, method)
            ax.axhline(perfect, color=INK, ls="--", lw=1.1, zorder=1, label="perfect")
            ax.set_xscale("log")
            if perfect == 1:  # a ratio
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                ax.yaxis.set_minor_formatter(NullFormatter())
                ax.set_ylim(bottom=0.8)  # an interval of few seeds may reach far below what is possible
            ax.xaxis.set_major_locator(FixedLocator(list(costs)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticklabels([f"{place:g}" for place in costs])
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_ylabel(label)
            if row == len(lines) - 1:
                ax.set_xlabel(cost)
            if column == 0:
                ax.set_title(density)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 3 * len(metrics) - 3))
    return figure


def _draw(ax: Axes, line: Line, k: int, label: str) -> None:
    places = sorted(line)
    means, lows, highs = zip(*(mean_interval(line[place]) for place in places), strict=True)
    ax.plot(places, means, MARKS[k % 8] + "-", color=CLASSES[k % len(CLASSES)], ms=5, label=label)
    if math.isfinite(max(highs)):
        ax.vlines(places, lows, highs, color=CLASSES[k % len(CLASSES)], lw=1.2)
