"""Figures of prompted images: grids under named columns, curves of what is right, shares of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from genlib.figures.images import sheet, show_bare
from genlib.figures.style import BLUE, CLASSES, INK, QUIET, panels, styled

MARKS = "os^DvP"


@styled
def grid(
    pictures: UInt8[np.ndarray, "n c h w"], rows: Sequence[str], columns: Sequence[str], *, title: str = ""
) -> Figure:
    """Pictures in named rows and columns."""
    gap, side = 2, 0.5
    canvas = sheet(pictures, len(columns), gap=gap)
    width = side * len(columns)
    height = width * canvas.shape[0] / canvas.shape[1]
    figure, axes = panels(1, 1, size=(width + 0.09 * max(map(len, rows)) + 0.3, height + (0.8 if title else 0.5)))
    show_bare(axes[0], canvas)
    down, right = (canvas.shape[0] + gap) / len(rows), (canvas.shape[1] + gap) / len(columns)
    axes[0].set_yticks([(k + 0.5) * down - gap / 2 for k in range(len(rows))], list(rows))
    axes[0].set_xticks([(k + 0.5) * right - gap / 2 for k in range(len(columns))], list(columns))
    axes[0].tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    axes[0].set_anchor("E")
    if title:
        axes[0].set_title(title, pad=22)
    return figure


@styled
def share_curves(
    x: Float[np.ndarray, " n"],
    shares: Mapping[str, Float[np.ndarray, " n"]],
    *,
    label: str,
    log: bool = False,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Shares in percent over what was varied.

    Arguments:
        log: whether x is shown by its logarithm.
        levels: what real images have of some of the shares, drawn as a dashed line in the same colour.
    """
    figure, axes = panels(1, 1, size=(6.2, 3.4))
    ax = axes[0]
    for k, (name, values) in enumerate(shares.items()):
        look: Any = {"color": CLASSES[k], "marker": MARKS[k], "ms": 5, "lw": 1.4}
        ax.plot(x, 100 * values, label=name, **look)
        if levels and name in levels:
            ax.axhline(100 * levels[name], color=CLASSES[k], lw=1.2, ls="--", label=f"{name} of real images")
    if log:
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.set_xlabel(label)
    ax.set_ylabel("share of images (%)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def shown_and_counted(
    pictures: UInt8[np.ndarray, "n c h w"],
    shares: Mapping[str, Float[np.ndarray, " k"]],
    names: Sequence[str],
    *,
    title: str,
) -> Figure:
    """A sheet of pictures, and beside it how often each class is among many like them; the dashed line is even."""
    figure, axes = panels(1, 2, size=(4.2, 3.4))
    show_bare(axes[0], sheet(pictures, 8))
    axes[0].set_title(title)
    place = np.arange(len(names))
    wide = 0.8 / len(shares)
    for k, (name, values) in enumerate(shares.items()):
        offset = (k - (len(shares) - 1) / 2) * wide
        axes[1].bar(place + offset, 100 * values, wide, color=(BLUE, QUIET)[k], label=name)
    axes[1].axhline(100 / len(names), color=INK, lw=1, ls="--", label="even")
    axes[1].set_xticks(place, list(names), rotation=0 if max(map(len, names)) < 3 else 45)
    axes[1].set_xlabel("class that the judge sees")
    axes[1].set_ylabel("share of images (%)")
    axes[1].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure
