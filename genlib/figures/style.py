"""The quiet style that every figure shares: colours that colour-blind readers can tell apart, equal axes for planes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from cycler import cycler
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

P = ParamSpec("P")

INK, QUIET, PAPER = "#222222", "#8a8a8a", "#f1f0ec"
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
CLASSES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, INK, YELLOW)
"""Okabe and Ito's palette: one colour per class."""
TIME = "viridis"
OUTSIDE, SCALE = "outside", "scale"
"""Marks of the note on points out of view and of the bar that says how long a length is."""

SMALL: Any = {"fontsize": 9, "bbox": {"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}}
"""Words over points."""

STYLE: Any = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.grid": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=CLASSES),
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under the shared style, leaving matplotlib's own settings as they were."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


class Plane(NamedTuple):
    """A density's place in the plane: where to look, and a map of it to lay under points.

    `region` holds, on a regular grid over the limits, −1 outside the support, else 0 or the class.
    """

    xlim: tuple[float, float]
    ylim: tuple[float, float]
    region: Float[np.ndarray, "h w"] | Shaped[np.ndarray, "h w"]


def panels(rows: int, columns: int, *, size: tuple[float, float] = (2.9, 2.9)) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of axes, row by row."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def show_plane(axes: Axes, plane: Plane, *, classes: bool = False, ticks: bool = True, room: float = 1.0) -> None:
    """Set equal axes over the plane, with the density's support (or its classes' regions) as a pale ground.

    `room` widens the view around the centre, for noise that reaches beyond the data. Without ticks a bar gives the
    scale.
    """
    colours = [_pale(colour) for colour in CLASSES] if classes else [PAPER]
    shown = np.ma.masked_less(plane.region, 0)
    image: AxesImage = axes.imshow(
        shown,
        extent=(*plane.xlim, *plane.ylim),
        origin="lower",
        cmap=ListedColormap(colours[: max(1, int(plane.region.max()) + 1)]),
        interpolation="nearest",
        zorder=0,
        aspect="equal",
    )
    image.set_rasterized(True)
    for low_high, setter in ((plane.xlim, axes.set_xlim), (plane.ylim, axes.set_ylim)):
        middle, half = sum(low_high) / 2, (low_high[1] - low_high[0]) / 2 * room
        setter(middle - half, middle + half)
    axes.set_anchor("W")  # in the middle, the layout would count what the aspect leaves over as the labels' room
    if ticks:
        axes.set_xlabel("$x_1$")
        axes.set_ylabel("$x_2$")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        _scale_bar(axes)


def _scale_bar(axes: Axes) -> None:
    """Draw a bar in a corner whose length, a power of ten, is written beside it."""
    left, right = axes.get_xlim()
    length = 10.0 ** np.floor(np.log10(0.6 * (right - left)))
    place: Any = {"transform": axes.get_xaxis_transform(), "zorder": 6, "gid": SCALE}
    axes.plot([left, left + length], [0.03, 0.03], color=INK, lw=1.5, clip_on=False, **place)
    beside = left + length + 0.03 * (right - left)
    axes.text(beside, 0.03, f"{length:g}", va="center", **SMALL, **place)


def dots(
    axes: Axes, x: Float[np.ndarray, "n 2"], colour: str = BLUE, *, size: float = 5, label: str | None = None
) -> None:
    """Draw a cloud of points in a view whose limits stand, and say how many of them it does not show."""
    axes.scatter(x[:, 0], x[:, 1], s=size, color=colour, alpha=0.55, linewidths=0, label=label, rasterized=True)
    note_outside(axes)


def note_outside(axes: Axes) -> None:
    """Write in a corner how many of the axes' points lie outside the view; nothing where all are in sight.

    Points that are not numbers are out of sight too.
    """
    clouds = [cloud.get_offsets() for cloud in axes.collections if isinstance(cloud, PathCollection)]
    x = np.concatenate([np.ma.filled(np.ma.asarray(cloud, float), np.nan) for cloud in clouds])
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    seen = (x[:, 0] >= left) & (x[:, 0] <= right) & (x[:, 1] >= bottom) & (x[:, 1] <= top)
    for note in [text for text in axes.texts if text.get_gid() == OUTSIDE]:
        note.remove()  # it counted fewer points
    if not seen.all():
        axes.text(
            0.99,
            0.99,
            f"{(~seen).sum():,} of {len(x):,} outside",
            transform=axes.transAxes,
            ha="right",
            va="top",
            zorder=6,
            gid=OUTSIDE,
            **SMALL,
        )


def timed_path(
    axes: Axes, path: Float[np.ndarray, "t 2"], times: Float[np.ndarray, " t"], *, width: float = 1.6
) -> LineCollection:
    """Draw a path coloured by time, a hollow dot where it starts and a full one where it ends."""
    segments = np.stack((path[:-1], path[1:]), 1)
    lines = LineCollection(list(segments), cmap=TIME, linewidths=width, capstyle="round")
    lines.set_array((times[:-1] + times[1:]) / 2)
    lines.set_clim(0, 1)
    axes.add_collection(lines)
    ends(axes, path)
    return lines


def ends(axes: Axes, path: Float[np.ndarray, "t 2"], colour: str = INK) -> None:
    """Mark where a path starts (hollow) and ends (full)."""
    axes.plot(*path[0], "o", ms=6, mfc="white", mec=colour, mew=1.3, zorder=4)
    axes.plot(*path[-1], "o", ms=6, mfc=colour, mec="white", mew=0.8, zorder=5)


def _pale(colour: str) -> tuple[float, float, float]:
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return (0.72 + 0.28 * red, 0.72 + 0.28 * green, 0.72 + 0.28 * blue)
