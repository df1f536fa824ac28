"""Paths of points through time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genlib.figures.style import BLUE, CLASSES, QUIET, RED, Plane, ends, panels, show_plane, styled, timed_path

DEPTH = LinearSegmentedColormap.from_list("depth", ("#ffffff", "#56B4E9", "#0b2a4a"))


@styled
def forward_reverse(
    forward: Float[np.ndarray, "t 2"], back: Float[np.ndarray, "t 2"], times: Float[np.ndarray, " t"], plane: Plane
) -> Figure:
    """One point's way into noise, and the way back from where it ended, coloured by time."""
    figure, axes = panels(1, 2, size=(4.2, 4.0))
    room = _room(plane, forward, back)
    show_plane(axes[0], plane, room=room)
    timed_path(axes[0], forward, times, width=1.0)
    axes[0].set_title("forward: data to noise")
    show_plane(axes[1], plane, room=room)
    lines = timed_path(axes[1], back, times[::-1], width=2.4)
    axes[1].set_title("reverse: noise to data (DDIM)")
    figure.colorbar(lines, ax=axes, label="time $t$", shrink=0.8)
    return figure


@styled
def one_noise(paths: Float[np.ndarray, "k t 2"], times: Float[np.ndarray, " t"], plane: Plane) -> Figure:
    """Several reverse paths from one noise: under a deterministic sampler they lie on each other."""
    figure, axes = panels(1, 1, size=(4.9, 4.2))
    show_plane(axes[0], plane, room=_room(plane, *paths))
    for path in paths:
        lines = timed_path(axes[0], path, times)
    spread = float(np.ptp(paths[:, -1], axis=0).max())
    axes[0].set_title(f"{len(paths)} DDIM paths from one noise:\nend points differ by {spread:.1g}")
    figure.colorbar(lines, ax=axes[0], label="time $t$", shrink=0.85)
    return figure


@styled
def path_groups(
    groups: Mapping[str, Float[np.ndarray, "k t 2"]],
    plane: Plane,
    sizes: Float[np.ndarray, " s"],
    spreads: Float[np.ndarray, "s r"],
) -> Figure:
    """Groups of reverse paths, and how far apart they end for perturbed starts.

    `spreads` holds, for each perturbation size, the distance between end points for many starts.
    """
    figure, axes = panels(1, len(groups) + 1, size=(3.3, 3.4))
    room = _room(plane, *(path for paths in groups.values() for path in paths))
    for ax, (title, paths) in zip(axes, groups.items(), strict=False):
        show_plane(ax, plane, room=room)
        for k, path in enumerate(paths):
            ax.plot(path[:, 0], path[:, 1], color=CLASSES[k], lw=1.3)
            ends(ax, path, CLASSES[k])
        ax.set_title(title)
    ax = axes[-1]
    low, middle, high = np.quantile(spreads, (0.1, 0.5, 0.9), axis=1)
    ax.fill_between(sizes, low, high, color=BLUE, alpha=0.2, lw=0, label="10 % to 90 % of starts")
    ax.plot(sizes, middle, "o-", color=BLUE, ms=4, label="median")
    ax.plot(sizes, spreads.max(1), "^", color=RED, ms=5, label="furthest of all starts")
    ax.plot(sizes, sizes, "--", color=QUIET, lw=1, label="as far apart as they started")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("perturbation of the start")
    ax.set_ylabel("distance of end points")
    ax.set_title("perturbed starts")
    ax.legend(fontsize=8.5)
    return figure


@styled
def class_paths(
    paths: Float[np.ndarray, "c t 2"],
    plane: Plane,
    names: Sequence[str],
    *,
    title: str = "one reverse path per class (hollow: noise, full: sample)",
) -> Figure:
    """One path per class over the classes' regions."""
    figure, axes = panels(1, 1, size=(5.6, 4.4))
    show_plane(axes[0], plane, classes=True, room=_room(plane, *paths))
    for label, (path, name) in enumerate(zip(paths, names, strict=True)):
        axes[0].plot(path[:, 0], path[:, 1], color=CLASSES[label], lw=2, label=name)
        ends(axes[0], path, CLASSES[label])
    figure.legend(title="class", loc="outside right center")
    axes[0].set_title(title)
    return figure


@styled
def timed_paths(
    paths: Float[np.ndarray, "k t 2"],
    times: Float[np.ndarray, " t"],
    plane: Plane,
    *,
    title: str,
    label: str = "time $t$",
) -> Figure:
    """Several paths coloured by time, hollow where they start and full where they end."""
    figure, axes = panels(1, 1, size=(5.4, 4.4))
    show_plane(axes[0], plane, room=_room(plane, *paths))
    for path in paths:
        lines = timed_path(axes[0], path, times)
    axes[0].set_title(title)
    figure.colorbar(lines, ax=axes[0], label=label, shrink=0.85)
    return figure


@styled
def layer_paths(paths: Float[np.ndarray, "k t 2"], plane: Plane, *, title: str) -> Figure:
    """Paths through the layers of a flow, from white to dark with depth; hollow where they start, full at the end."""
    figure, axes = panels(1, 1, size=(5.4, 4.4))
    show_plane(axes[0], plane, room=_room(plane, *paths))
    axes[0].set_facecolor("#c9c9c4")
    depth = np.arange(paths.shape[1] - 1)
    for path in paths:
        lines = LineCollection(list(np.stack((path[:-1], path[1:]), 1)), cmap=DEPTH, linewidths=1.8, capstyle="round")
        lines.set_array(depth + 1)
        lines.set_clim(1, len(depth))
        axes[0].add_collection(lines)
        ends(axes[0], path)
    axes[0].set_title(title)
    figure.colorbar(lines, ax=axes[0], label="layer", shrink=0.85, ticks=MaxNLocator(integer=True))
    return figure


@styled
def inverse_paths(
    paths: Float[np.ndarray, "k t 2"], on: Bool[np.ndarray, " k"], log_p: Float[np.ndarray, " k"], plane: Plane
) -> Figure:
    """Paths from data points to their noise: solid for points on the density, dashed for points off it.

    Circles hold 50, 90 and 99 % of the noise.
    """
    figure, axes = panels(1, 1, size=(8.6, 4.6))
    ax = axes[0]
    radii = {mass: np.sqrt(-2 * np.log(1 - mass)) for mass in (0.5, 0.9, 0.99)}
    reach = _room(plane, 1.05 * radii[0.99] * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]))
    show_plane(ax, plane, room=min(max(_room(plane, *paths), reach), 1.7 * reach))  # some noise is out of all sight
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    angle = np.linspace(0, 2 * np.pi, 200)
    for mass, radius in radii.items():
        ax.plot(radius * np.cos(angle), radius * np.sin(angle), ":", color=QUIET, lw=0.9)
        ax.text(0, radius, f"{mass:.0%}", color=QUIET, fontsize=8, ha="center", va="bottom")
    for k, path in enumerate(paths):
        place = "on" if on[k] else "off"
        size = float(np.linalg.norm(path[-1]))
        seen = left <= path[-1, 0] <= right and bottom <= path[-1, 1] <= top
        label = f"{place}: ‖z‖ = {size:.3g}{'' if seen else ' (out of view)'}, log p = {log_p[k]:.3g}"
        ax.plot(path[:, 0], path[:, 1], "-" if on[k] else "--", color=CLASSES[k], lw=1.7, label=label)
        ends(ax, path, CLASSES[k])
    figure.legend(loc="outside right center", title="point, its noise, its density")
    ax.set_title("from data (hollow) to noise (full)")
    return figure


def _room(plane: Plane, *paths: Float[np.ndarray, "t 2"]) -> float:
    """How much wider than the plane the view must be to hold all paths."""
    points = np.concatenate(paths)
    reach = 1.0
    for axis, (low, high) in enumerate((plane.xlim, plane.ylim)):
        reach = max(reach, float(np.abs(points[:, axis] - (low + high) / 2).max()) / ((high - low) / 2) * 1.08)
    return reach
