"""Figures of images: sheets under one title, named rows, and what their codes and colours are."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from genlib.figures.style import BLUE, INK, ORANGE, QUIET, note_outside, panels, styled

GREY: Any = {"color": QUIET, "alpha": 0.5}
LINE: Any = {"histtype": "step", "color": BLUE, "lw": 1.4}
Pictures = UInt8[np.ndarray, "n c h w"]


def sheet(images: Pictures, columns: int, *, gap: int = 2, between: int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """Images side by side on white, row by row.

    Arguments:
        gap: pixels between images.
        between: further pixels between every row of images and the next.

    Example:
        >>> sheet(np.zeros((6, 1, 28, 28), np.uint8), 3).shape
        (58, 88, 3)
    """
    count, _, height, width = images.shape
    rows = -(-count // columns)
    down, right = height + gap + between, width + gap
    canvas = np.full((rows * down - gap - between, columns * right - gap, 3), 255, np.uint8)
    for k, image in enumerate(images):
        top, left = k // columns * down, k % columns * right
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)  # one channel serves all three
    return canvas


def show_bare(axes: Axes, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """A picture without any frame."""
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


@styled
def sheets(parts: Mapping[str, Pictures], *, columns: int, across: int = 3, side: float = 3.3) -> Figure:
    """Sheets side by side, each under its title."""
    rows = -(-len(parts) // across)
    height = max(-(-len(images) // columns) for images in parts.values()) / columns * side
    figure, axes = panels(rows, min(across, len(parts)), size=(side, height + 0.35))
    for ax, (title, images) in zip(axes, parts.items(), strict=False):
        show_bare(ax, sheet(images, columns))
        ax.set_title(title)
    for ax in axes[len(parts) :]:
        ax.set_visible(False)
    return figure


@styled
def named_rows(parts: Mapping[str, Pictures], *, title: str, side: float = 0.62) -> Figure:
    """Rows of equally many images, each row named at its left.

    Arguments:
        side: width of an image, in inches.
    """
    columns, gap, between = len(next(iter(parts.values()))), 2, 4
    canvas = sheet(np.concatenate(list(parts.values())), columns, gap=gap, between=between)
    pitch = (canvas.shape[0] + gap + between) / len(parts)
    width = side * columns
    height = width * canvas.shape[0] / canvas.shape[1]  # with less the layout would misjudge the names' room
    title = fill(title, int(width / 0.08))
    room = 0.085 * max(map(len, parts)) + 0.3
    figure, axes = panels(1, 1, size=(width + room, height + 0.4 + 0.2 * title.count("\n")))
    show_bare(axes[0], canvas)
    axes[0].set_yticks([(k + 0.5) * pitch - (gap + between) / 2 for k in range(len(parts))], list(parts))
    axes[0].tick_params(axis="y", length=0)
    axes[0].set_anchor("E")  # what the aspect leaves over is the names'
    axes[0].set_title(title)
    return figure


@styled
def coloured_planes(
    z: Float[np.ndarray, "n 2"], digits: Int[np.ndarray, " n"], hues: Float[np.ndarray, " n"] | None, *, axis: str
) -> Figure:
    """Codes in the plane, coloured by digit (named at its median where that tells them apart) and by the ink's hue."""
    figure, axes = panels(1, 1 if hues is None else 2, size=(4.6, 4.2))
    reach = float(np.quantile(np.abs(z), 0.995)) * 1.05
    dots: Any = {"s": 7, "linewidths": 0, "alpha": 0.7, "rasterized": True}
    count = int(digits.max()) + 1
    shown = axes[0].scatter(z[:, 0], z[:, 1], c=digits, cmap="tab10", vmin=-0.5, vmax=9.5, **dots)
    figure.colorbar(
        shown, ax=axes[0], label="digit", ticks=range(10), boundaries=np.arange(count + 1) - 0.5, shrink=0.8
    )
    middles = np.stack([np.median(z[digits == digit], 0) for digit in range(count) if (digits == digit).any()])
    if middles.std(0).max() > 0.25 * reach:  # else all lie over each other
        for digit, middle in enumerate(middles):
            box: Any = {"boxstyle": "circle,pad=0.18", "fc": "white", "ec": colormaps["tab10"](digit), "lw": 1.4}
            axes[0].annotate(str(digit), middle, ha="center", va="center", fontsize=11, fontweight="bold", bbox=box)
    axes[0].set_title("by digit")
    if hues is not None:
        shown = axes[1].scatter(z[:, 0], z[:, 1], c=hues * 360, cmap="hsv", vmin=0, vmax=360, **dots)
        axes[1].set_title("by the hue of the ink")
        figure.colorbar(shown, ax=axes[1], label="hue (degrees)", ticks=[0, 60, 120, 180, 240, 300, 360], shrink=0.8)
    for ax in axes:
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-reach, reach)
        note_outside(ax)
        ax.locator_params(nbins=5)
        ax.set_aspect("equal")
        ax.set_xlabel(axis.format(1))
        ax.set_ylabel(axis.format(2))
    return figure


@styled
def code_tables(
    tables: Mapping[str, Float[np.ndarray, "rows columns"]],
    *,
    rows: str,
    columns: str,
    value: str,
    right: Mapping[str, Int[np.ndarray, " rows"]] | None = None,
    inks: bool = False,
) -> Figure:
    """Tables of shares side by side, the larger the darker.

    Arguments:
        right: the column that each row should be in, by table, marked by a frame.
        inks: True where the columns are hues, a patch of which then stands under each.
    """
    figure, axes = panels(1, len(tables), size=(3.9, 4.1))
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        shown = ax.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for row, column in enumerate(right[title] if right else []):
            ax.plot(column, row, "s", ms=17, mfc="none", mec=ORANGE, mew=1.6)
        ax.set_xticks(range(table.shape[1]), [str(36 * k) if inks else str(k) for k in range(table.shape[1])])
        ax.set_yticks(range(table.shape[0]))
        ax.set_xlabel(columns)
        ax.set_ylabel(rows)
        ax.set_title(title)
        if inks:
            ax.tick_params(axis="x", labelsize=8, pad=12)
            for k in range(table.shape[1]):
                patch: Any = {"color": hsv_to_rgb((k / 10, 1, 1)), "ms": 8, "clip_on": False}
                ax.plot(k, -0.045, "s", transform=ax.get_xaxis_transform(), **patch)
    figure.colorbar(shown, ax=axes[-1], label=value, shrink=0.75)
    return figure


@styled
def hue_histograms(
    parts: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]], *, truth: str, found: str
) -> Figure:
    """How often each hue occurs: in the target domain itself (grey), and in what was carried there (line)."""
    figure, axes = panels(1, len(parts), size=(4.4, 3.2))
    edges = list(np.arange(-3.0, 358, 6))  # the ten hues are in the middle of theirs
    for ax, (title, (real, carried)) in zip(axes, parts.items(), strict=True):
        for hues, look in ((real, GREY), (carried, LINE)):
            shares: Any = np.full(len(hues), 100 / len(hues))
            label = truth if hues is real else found
            ax.hist((hues * 360 + 3) % 360 - 3, edges, weights=shares, label=label, **look)
        ax.set_xticks(range(0, 360, 36))
        ax.tick_params(axis="x", labelsize=8)
        ax.set_xlabel("hue (degrees)")
        ax.set_ylabel("share of images (%)")
        ax.set_title(title)
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, -0.25), ncols=2)
    return figure


@styled
def term_curves(
    terms: Mapping[str, tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]],
    *,
    level: float | None = None,
    label: str,
) -> Figure:
    """Losses over updates, a panel for each.

    Arguments:
        level: a value to compare them with, drawn as a dashed line.
    """
    figure, axes = panels(1, len(terms), size=(2.9, 2.7))
    for k, (ax, (name, (steps, values))) in enumerate(zip(axes, terms.items(), strict=True)):
        ax.plot(steps, values, color=BLUE, lw=1)
        ax.set_title(name)
        ax.set_xlabel("update")
        if k == 0:
            ax.set_ylabel(label)
        if level is not None and name.startswith("critic"):
            ax.axhline(level, color=INK, lw=1, ls="--", label=f"guessing, {level:.2f}")
            ax.legend()
    return figure
