"""Figures of representations: planes by class, who is near and far, anomalies, hubs, spectra, probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from genlib.figures.images import sheet, show_bare
from genlib.figures.style import BLUE, INK, ORANGE, QUIET, RED, note_outside, panels, styled

Strip = UInt8[np.ndarray, "_ c h w"]
"""Images side by side."""
TEN = (
    "#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#009E73", "#332288", "#117733", "#66CCAA", "#E3C800", "#882255",
)  # fmt: skip
"""A colour per class, of ten; of CIFAR-10's the vehicles are warm and the animals cool."""


Series = tuple[Int[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""Updates, and a value at each."""


class Scores(NamedTuple):
    """Scores of usual and of odd images, the ROC curve that they give, its area, and the highest-scored images."""

    usual: Float[np.ndarray, " n"]
    odd: Float[np.ndarray, " m"]
    roc: tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]
    auc: float
    highest: Strip


@styled
def term_panels(terms: Mapping[str, tuple[Series, Series]]) -> Figure:
    """A loss's weighted terms by update, a panel for each: of training batches, and of validation images."""
    figure, axes = panels(1, len(terms), size=(3.2, 2.9))
    for ax, (name, (train, validation)) in zip(axes, terms.items(), strict=True):
        ax.plot(*train, color=BLUE, lw=1, label="training")
        ax.plot(*validation, "o-", color=ORANGE, ms=4, label="validation")
        ax.set_ylim(bottom=0)
        ax.set_title(name.replace("_", " "))
        ax.set_xlabel("update")
    axes[0].set_ylabel("weighted term")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@styled
def class_planes(
    planes: Mapping[str, Float[np.ndarray, "n 2"]], y: Int[np.ndarray, " n"], names: Sequence[str]
) -> Figure:
    """Planes side by side, their points coloured by class."""
    figure, axes = panels(1, len(planes), size=(4.1, 4.0))
    for ax, (title, x) in zip(axes, planes.items(), strict=True):
        for label, name in enumerate(names):
            rows = x[y == label]
            dots: Any = {"s": 7, "linewidths": 0, "alpha": 0.75, "rasterized": True}
            ax.scatter(rows[:, 0], rows[:, 1], color=TEN[label % 10], label=name if ax is axes[0] else None, **dots)
        low, high = np.quantile(x, 0.002, axis=0), np.quantile(x, 0.998, axis=0)
        half = max(0.55 * float((high - low).max()), 1e-9)
        (across, up) = (low + high) / 2
        ax.set_xlim(across - half, across + half)
        ax.set_ylim(up - half, up + half)
        note_outside(ax)
        ax.set_aspect("equal")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title(title)
    figure.legend(loc="outside right center", markerscale=2.2, title="class")
    return figure


@styled
def retrievals(
    parts: Mapping[str, Sequence[Sequence[Strip]]], *, groups: Sequence[str], names: Sequence[str]
) -> Figure:
    """Rows of images, a row per name, in groups of columns; a block of rows beside the next for each part."""
    widths = [len(group[0]) for group in next(iter(parts.values()))]
    figure, axes = panels(1, len(parts), size=(0.42 * (sum(widths) + 1), 0.42 * len(names) + 0.7))
    for ax, (title, blocks) in zip(axes, parts.items(), strict=True):
        _, _, height, width = blocks[0][0].shape
        lines = []
        for row in range(len(names)):
            strips = [sheet(block[row], len(block[row])) for block in blocks]
            gap = np.full((height, width // 2, 3), 255, np.uint8)
            lines.append(np.concatenate([part for strip in strips for part in (strip, gap)][:-1], 1))
            lines.append(np.full((2, lines[-1].shape[1], 3), 255, np.uint8))
        show_bare(ax, np.concatenate(lines[:-1]))
        if ax is axes[0]:
            ax.set_yticks([(height + 2) * (row + 0.5) for row in range(len(names))], list(names))
        middles, at = [], 0.0
        for count in widths:
            middles.append(at + count * (width + 2) / 2)
            at += count * (width + 2) - 2 + width // 2
        ax.set_xticks(middles, list(groups))
        ax.tick_params(axis="both", length=0)
        ax.set_title(title)
    return figure


@styled
def anomaly_panels(parts: Mapping[str, Scores], *, odd: str, usual: str, score: str) -> Figure:
    """For every model: scores of usual and odd images, ROC curve, and the images with the highest scores."""
    figure = Figure(figsize=(10.4, 3.3 * len(parts)), layout="constrained")
    axes = figure.subplots(len(parts), 3, squeeze=False, width_ratios=(1.25, 1, 1.25))
    for (histogram, curve, pictures), (title, scores) in zip(axes, parts.items(), strict=True):
        together = np.concatenate((scores.usual, scores.odd))
        edges = list(np.linspace(together.min(), np.quantile(together, 0.999) + 1e-9, 40))
        for values, name, look in (
            (scores.usual, usual, {"color": QUIET, "alpha": 0.5}),
            (scores.odd, odd, {"histtype": "step", "color": RED, "lw": 1.6}),
        ):
            weights: Any = np.full(len(values), 100 / len(values))
            style: Any = look
            histogram.hist(values, edges, weights=weights, label=name, **style)
        histogram.set_xlabel(score)
        histogram.set_ylabel("share of images (%)")
        histogram.set_title(title)
        histogram.set_ylim(top=1.3 * histogram.get_ylim()[1])
        histogram.legend(loc="upper right")
        curve.plot(*scores.roc, color=BLUE)
        curve.plot([0, 1], [0, 1], color=QUIET, lw=1, ls="--")
        curve.set_aspect("equal")
        curve.set_xlabel(f"share of {usual} flagged")
        curve.set_ylabel(f"share of {odd} flagged")
        curve.set_title(f"ROC, area {scores.auc:.3f}")
        show_bare(pictures, sheet(scores.highest, 4))
        pictures.set_title(f"the {len(scores.highest)} most anomalous")
    return figure


@styled
def counted_images(parts: Mapping[str, tuple[Strip, Int[np.ndarray, " _"]]], *, label: str) -> Figure:
    """Rows of images with a count under each."""
    columns = max(len(counts) for _, counts in parts.values())
    figure, axes = panels(len(parts), 1, size=(0.72 * columns + 0.5, 1.45))
    for ax, (title, (images, counts)) in zip(axes, parts.items(), strict=True):
        show_bare(ax, sheet(images, len(images)))
        width = images.shape[3] + 2
        ax.set_xticks([(k + 0.5) * width - 1 for k in range(len(counts))], [f"{count:,}" for count in counts])
        ax.tick_params(axis="x", length=0)
        ax.set_xlabel(label)
        ax.set_title(title)
    return figure


@styled
def spectra(values: Mapping[str, Float[np.ndarray, " _"]], ranks: Mapping[str, float]) -> Figure:
    """Standard deviations along the principal axes, largest first, with the effective rank of each set."""
    figure, axes = panels(1, 1, size=(6.4, 4.3))
    floor = 1e-6
    for name, deviations in values.items():
        axes[0].plot(
            np.arange(1, len(deviations) + 1),
            np.maximum(deviations / max(float(deviations.max()), 1e-30), floor),
            label=f"{name}: effective rank {ranks[name]:.1f} of {len(deviations)}",
        )
    axes[0].set_yscale("log")
    axes[0].set_xscale("log")
    axes[0].set_ylim(floor, 2)
    axes[0].set_xlabel("principal axis")
    axes[0].set_ylabel("deviation, largest = 1")
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1))
    return figure


@styled
def probe_curves(
    train: Float[np.ndarray, " e"], test: Float[np.ndarray, " e"], *, fitted: float, floor: float
) -> Figure:
    """The accuracy of a linear layer after every epoch, and of the one fitted to its end."""
    figure, axes = panels(1, 1, size=(6.4, 3.6))
    epochs = np.arange(1, len(train) + 1)
    axes[0].plot(epochs, 100 * train, "o-", color=ORANGE, ms=4, label="training images")
    axes[0].plot(epochs, 100 * test, "s-", color=BLUE, ms=4, label="test images")
    axes[0].axhline(100 * fitted, color=INK, lw=1.2, ls="--", label=f"fitted to its end, {100 * fitted:.1f}")
    axes[0].axhline(100 * floor, color=QUIET, lw=1.2, ls=":", label=f"chance, {100 * floor:.0f}")
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlabel("epoch of the linear layer")
    axes[0].set_ylabel("accuracy (%)")
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1.2, handlelength=1.6)
    return figure
