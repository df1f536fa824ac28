"""Pictures of what a language model does with a text: where it looks, how probable tokens are, how it is inverted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from genlib.figures.style import BLUE, INK, ORANGE, QUIET, panels, styled

WIDTH = 44
"""Characters that fit in a line of what a model says."""


def readable(token: str) -> str:
    r"""A token as a label: spaces and line ends are made visible.

    Example:
        >>> readable(" a\n")
        '␣a⏎'
    """
    return token.replace(" ", "␣").replace("\n", "⏎")


@styled
def attention_rows(blocks: Mapping[str, Float[np.ndarray, "h s"]], tokens: Sequence[str], *, title: str) -> Figure:
    """Where one position looks: a row for each head and their mean, a column for each token, block under block."""
    heads = len(next(iter(blocks.values())))
    figure, axes = panels(len(blocks), 1, size=(0.36 * len(tokens) + 2.6, 0.36 * (heads + 1) + 1.1))
    names = [*(f"head {k}" for k in range(heads)), "mean"]
    highest = max(float(shares.max()) for shares in blocks.values())  # equal shares are equally dark in every block
    for ax, (name, shares) in zip(axes, blocks.items(), strict=True):
        table = np.vstack((shares, shares.mean(0)))
        shown = ax.imshow(table, cmap="Blues", vmin=0, vmax=highest, aspect="equal")
        ax.axhline(heads - 0.5, color=INK, lw=1)
        ax.set_yticks(range(heads + 1), names)
        ax.set_xticks(
            range(len(tokens)), [readable(token) for token in tokens], rotation=60, ha="right", parse_math=False
        )
        ax.set_ylabel(name)
        figure.colorbar(shown, ax=ax, label="attention", shrink=0.9)
    axes[0].set_title(title, parse_math=False)
    return figure


@styled
def score_bars(texts: Mapping[str, tuple[Sequence[str], Float[np.ndarray, " t"]]]) -> Figure:
    """−ln p of every token of some continuations, each under its text and its total."""
    longest = max(len(tokens) for tokens, _ in texts.values())
    figure, axes = panels(len(texts), 1, size=(max(5.8, 0.42 * longest + 1.6), 2.2))
    highest = max(float(-log_p.min()) for _, log_p in texts.values()) * 1.12
    for ax, (title, (tokens, log_p)) in zip(axes, texts.items(), strict=True):
        ax.bar(range(len(tokens)), -log_p, color=BLUE, width=0.7)
        ax.set_xticks(range(len(tokens)), [readable(token) for token in tokens], parse_math=False)
        ax.set_xlim(-0.6, longest - 0.4)
        ax.set_ylim(0, highest)
        ax.set_ylabel("−ln p (nats)")
        ax.set_title(f"“{title}”: {-log_p.sum():.2f} nats, {-log_p.mean():.2f} a token", parse_math=False)
    return figure


@styled
def inversion(
    losses: Float[np.ndarray, " u"],
    margins: Float[np.ndarray, " u"],
    said: Mapping[int, str],
    *,
    exact: int | None,
) -> Figure:
    """The loss and the least margin by update, and what the model says at some of them."""
    figure, axes = panels(1, 3, size=(4.2, 3.4))
    updates = np.arange(1, len(losses) + 1)
    for ax, values, name, colour in (
        (axes[0], losses, "−ln p (nats per token)", BLUE),
        (axes[1], margins, "margin of the least sure token (nats)", ORANGE),
    ):
        ax.plot(updates, values, color=colour, lw=1.2)
        ax.set_xscale("log")
        ax.set_xlabel("update of the input")
        ax.set_ylabel(name)
        if exact is not None:
            ax.axvline(exact, color=INK, lw=1, ls="--", label=f"exact from {exact} on")
            ax.legend()
    axes[1].axhline(0, color=QUIET, lw=0.8)
    axes[2].set_axis_off()
    axes[2].set_title("what it says")
    for k, (update, text) in enumerate(said.items()):
        place = 0.92 - 0.92 * k / max(1, len(said))
        axes[2].text(0, place, f"{update:>5}", color=QUIET, fontsize=9, family="monospace", va="center")
        line = readable(text).replace("␣", " ")
        line = line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
        axes[2].text(0.16, place, line, fontsize=9, va="center", parse_math=False)
    return figure
