"""Curves and bars: losses, schedules, likelihoods by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from genlib.figures.style import BLUE, CLASSES, GREEN, INK, ORANGE, QUIET, RED, Plane, dots, panels, show_plane, styled


@styled
def loss_curve(
    steps: Int[np.ndarray, " n"],
    losses: Float[np.ndarray, " n"],
    validation_steps: Int[np.ndarray, " v"],
    validation: Float[np.ndarray, " v"],
    *,
    floor: float | None,
    label: str,
) -> Figure:
    """The training loss by update, the validation loss, and the floor that no model can get under on fresh data."""
    figure, axes = panels(1, 1, size=(6.4, 3.6))
    ax = axes[0]
    if len(losses):
        ax.plot(steps, losses, color=BLUE, lw=1, alpha=0.8, label="training")
    ax.plot(validation_steps, validation, "o-", color=ORANGE, ms=5, label="validation")
    if floor is not None:
        ax.axhline(floor, color=INK, lw=1.2, ls="--", label=f"floor on fresh data, {floor:.3f}")
    shown = np.concatenate((losses[len(losses) // 50 :], validation))
    low, high = float(shown.min()), float(np.quantile(shown, 0.995))
    low = min(low, floor) if floor is not None else low
    ax.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
    ax.set_xlabel("update")
    ax.set_ylabel(label)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure


@styled
def likelihood_terms(
    steps: Int[np.ndarray, " n"],
    loss: Float[np.ndarray, " n"],
    log_det: Float[np.ndarray, " n"],
    log_z: Float[np.ndarray, " n"],
    *,
    floor: float,
) -> Figure:
    """The validation loss of a flow over its updates, above its floor, and the two terms that it is made of."""
    figure, axes = panels(1, 2, size=(4.3, 3.4))
    axes[0].plot(steps, loss, "o-", color=BLUE, ms=3, label="−log p(x)")
    axes[0].axhline(floor, color=INK, lw=1.2, ls="--", label=f"entropy, {floor:.3f}")
    high = float(np.quantile(loss, 0.95))
    axes[0].set_ylim(min(floor, loss.min()) - 0.06 * (high - floor), high + 0.12 * (high - floor))
    axes[0].set_ylabel("validation loss (nats)")
    axes[1].plot(steps, -log_det, "s-", color=ORANGE, ms=3, label="−log |det ∂z/∂x|")
    axes[1].plot(steps, -log_z, "^-", color=GREEN, ms=3, label="−log p(z)")
    axes[1].axhline(0, color=QUIET, lw=0.8)
    axes[1].set_ylabel("its terms (nats)")
    for ax in axes:
        ax.set_xlabel("update")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1.2, handlelength=1.6)
    return figure


@styled
def schedule_panels(
    sigmas: Mapping[str, Float[np.ndarray, " t"]],
    clouds: Mapping[str, Float[np.ndarray, "n 2"]],
    notes: Mapping[str, str],
    plane: Plane,
    *,
    floor: float,
) -> Figure:
    """σ over the sampling steps for every schedule (top), and the samples each gives (below)."""
    figure, axes = panels(2, len(sigmas), size=(2.25, 2.5))
    for k, (name, sigma) in enumerate(sigmas.items()):
        top, below = axes[k], axes[k + len(sigmas)]
        top.plot(np.arange(len(sigma)), sigma, color=CLASSES[k % len(CLASSES)])
        top.set_yscale("log")
        top.set_ylim(min(s.min() for s in sigmas.values()) / 1.5, max(s.max() for s in sigmas.values()) * 1.5)
        top.set_title(name)
        top.set_xlabel("sampling step")
        if k == 0:
            top.set_ylabel("σ")
        else:
            top.set_yticklabels([])
        show_plane(below, plane, ticks=False)
        dots(below, clouds[name], CLASSES[k % len(CLASSES)], size=3)
        below.set_title(notes[name], fontsize=10)
    figure.supxlabel(f"SW: sliced Wasserstein distance to the data; real against real {floor:.3f}", fontsize=10, x=0.5)
    return figure


@styled
def class_likelihoods(
    entropies: Float[np.ndarray, " c"],
    nll: Float[np.ndarray, " c"],
    errors: Float[np.ndarray, " c"],
    names: Sequence[str],
) -> Figure:
    """NLL by class beside its truth, ln(area)."""
    figure, axes = panels(1, 1, size=(6.0, 3.4))
    place = np.arange(len(names))
    axes[0].bar(place - 0.2, entropies, 0.38, color=QUIET, label="truth: ln(area)")
    axes[0].bar(
        place + 0.2,
        nll,
        0.38,
        color=BLUE,
        yerr=1.96 * errors,
        label="model, 95 % interval",
        error_kw={"lw": 1.2, "ecolor": INK},
    )
    axes[0].axhline(0, color=INK, lw=0.8)
    axes[0].set_xticks(place, names)
    axes[0].set_xlabel("class, by distance from the origin")
    axes[0].set_ylabel("NLL given the class (nats)")
    axes[0].legend()
    return figure


@styled
def point_likelihoods(
    names: Sequence[str],
    exact: Float[np.ndarray, " p"],
    bound: Float[np.ndarray, " p"],
    bound_errors: Float[np.ndarray, " p"],
    truth: Float[np.ndarray, " p"],
) -> Figure:
    """log p(x|c) of chosen points: exact, by the variational bound, and the truth where it is finite."""
    figure, axes = panels(1, 1, size=(8.2, 0.42 * len(names) + 1.3))
    place = np.arange(len(names))[::-1]
    ax = axes[0]
    finite = np.isfinite(truth)
    ax.plot(truth[finite], place[finite], "|", color=INK, ms=16, mew=2, label="truth (else −∞)")
    ax.plot(exact, place, "o", color=BLUE, ms=6, label="exact, probability flow")
    ax.errorbar(
        bound,
        place - 0.22,
        xerr=1.96 * bound_errors,
        fmt="D",
        color=RED,
        ms=4,
        lw=1.2,
        label="variational bound, 95 % interval",
    )
    ax.set_yticks(place, names)
    ax.grid(axis="x", color="#dddddd", lw=0.7)
    ax.set_xscale("symlog", linthresh=2)
    ax.set_xlim(left=2 * min(-1.0, exact.min(), bound.min()))
    ax.set_xlabel("log p(x | class), nats (symmetric log scale)")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure
