"""Clouds of points in the plane: samples side by side, over each other, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from genlib.figures.style import BLUE, CLASSES, GREEN, INK, ORANGE, QUIET, Plane, dots, panels, show_plane, styled


@styled
def cloud_panels(
    clouds: Mapping[str, Float[np.ndarray, "n 2"]],
    plane: Plane,
    *,
    columns: int = 3,
    room: float = 1.0,
    colours: Sequence[str] = (BLUE,),
) -> Figure:
    """Clouds side by side, each under its title, in colours by row."""
    rows = -(-len(clouds) // columns)
    figure, axes = panels(rows, columns, size=(2.5, 2.75))
    for k, (ax, (title, x)) in enumerate(zip(axes, clouds.items(), strict=False)):
        show_plane(ax, plane, ticks=False, room=room)
        dots(ax, x, colours[k // columns % len(colours)], size=4)
        ax.set_title(title)
    for ax in axes[len(clouds) :]:
        ax.set_visible(False)
    return figure


@styled
def overlay(
    data: Float[np.ndarray, "n 2"],
    noised: Float[np.ndarray, "n 2"],
    denoised: Float[np.ndarray, "n 2"],
    plane: Plane,
    *,
    sigma: float,
) -> Figure:
    """The data, its noised version and the one-step denoised version: each alone, then over each other."""
    figure, axes = panels(1, 4, size=(2.7, 3.1))
    layers = (
        ("data $x_0$", data, INK),
        (f"noised $x_\\sigma$, σ = {sigma:.2f}", noised, ORANGE),
        ("one step denoised $\\hat x_0$", denoised, BLUE),
    )
    room = 1.7
    for ax, (title, x, colour) in zip(axes, layers, strict=False):
        show_plane(ax, plane, ticks=False, room=room)
        dots(ax, x, colour)
        ax.set_title(title)
    show_plane(axes[3], plane, ticks=False, room=room)
    for _, x, colour in (layers[1], layers[0], layers[2]):
        dots(axes[3], x, colour, size=4)
    axes[3].set_title("over each other")
    return figure


@styled
def class_cloud(
    x: Float[np.ndarray, "n 2"], y: Int[np.ndarray, " n"], plane: Plane, *, title: str, names: Sequence[str]
) -> Figure:
    """Points coloured by class over their classes' regions."""
    figure, axes = panels(1, 1, size=(5.6, 4.4))
    show_plane(axes[0], plane, classes=True)
    for label, name in enumerate(names):
        dots(axes[0], x[y == label], CLASSES[label % len(CLASSES)], size=7, label=f"{name} ({(y == label).sum():,})")
    figure.legend(title="class (points)", loc="outside right center", markerscale=2.2)
    axes[0].set_title(title)
    return figure


@styled
def starts(clouds: Mapping[str, Float[np.ndarray, "n 2"]], truth: Float[np.ndarray, "m 2"], plane: Plane) -> Figure:
    """What the variance of the starting noise does: the samples it gives and the density of one coordinate.

    The density is that of all points; what share of them lies beyond its axis is said beside their name.
    """
    figure, axes = panels(1, len(clouds) + 1, size=(3.2, 3.2))
    edges = np.linspace(min(plane.xlim[0], plane.ylim[0]), max(plane.xlim[1], plane.ylim[1]), 49)

    def density(x: Float[np.ndarray, "n 2"], label: str, **look: Any) -> None:
        beyond = 100 * (1 - np.mean((x >= edges[0]) & (x <= edges[-1])))
        label += f", {beyond:.2g} % outside" if beyond else ""
        weights = np.full(x.size, 1 / (x.size * (edges[1] - edges[0])))
        axes[-1].hist(x.ravel(), bins=list(edges), weights=weights, label=label, **look)

    colours = (BLUE, ORANGE, GREEN)
    for ax, (title, x), colour in zip(axes, clouds.items(), colours, strict=False):
        show_plane(ax, plane, ticks=False)
        dots(ax, x[:2000], colour, size=4)
        ax.set_title(f"{title}: std {x.std():.3f}")
        density(x, title, histtype="step", color=colour, lw=1.6)
    density(truth, f"data: std {truth.std():.3f}", color=QUIET, alpha=0.3)
    axes[-1].set_xlabel("one coordinate")
    axes[-1].set_ylabel("density")
    axes[-1].set_ylim(top=1.45 * axes[-1].get_ylim()[1])  # room for the legend
    axes[-1].legend(loc="upper center", fontsize=9)
    return figure
