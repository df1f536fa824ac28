"""The figures of `ColourTransfer`."""

from __future__ import annotations

import math

import numpy as np
import torch

from genlib.data.images.colours import Domain, as_bytes, digit_hues, hue_of
from genlib.drawing import Drawing
from genlib.figures import images
from genlib.history import History
from genlib.methods.colour_transfer import Players
from genlib.studies.colour_transfer.study import OTHER, Carried, ColourTransfer

NAMES: dict[Domain, str] = {"a": "A", "b": "B"}


def draw(study: ColourTransfer, model: Players, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    grey = study.images.evaluation.to(torch.get_default_device())
    transfers = {domain: study.carry(model, grey, domain) for domain in OTHER}
    return {
        "a_to_b": _there_and_back(transfers["a"], "a"),
        "b_to_a": _there_and_back(transfers["b"], "b"),
        "losses": _losses(history),
        "hues": _hues(transfers),
        "hue_by_digit": _hue_by_digit(transfers),
    }


def _there_and_back(transfer: Carried, domain: Domain) -> Drawing:
    """A digit of each class: as it is, carried, as it should be, and come back."""
    first = torch.stack([(transfer.y == digit).nonzero()[0, 0] for digit in range(10)])
    here, there = NAMES[domain], NAMES[OTHER[domain]]
    parts = {
        f"{here}": as_bytes(transfer.start[first]).numpy(force=True),
        f"{here} → {there}": as_bytes(transfer.carried[first]).numpy(force=True),
        f"the truth in {there}": as_bytes(transfer.truth[first]).numpy(force=True),
        f"{here} → {there} → {here}": as_bytes(transfer.back[first]).numpy(force=True),
    }
    title = f"test digits carried from {here} to {there} and back"
    return Drawing(images.named_rows(parts, title=title), {k: v.reshape(len(v), -1) for k, v in parts.items()})


def _losses(history: History) -> Drawing:
    names = {
        "generators": "generators, to deceive",
        "cycle": "cycle, weighted",
        "critic_a": "critic of A",
        "critic_b": "critic of B",
        "identity": "identity, weighted",
    }
    series = {title: history.series(f"loss/{name}") for name, title in names.items()}
    series = {title: pair for title, pair in series.items() if len(pair[0])}
    figure = images.term_curves(series, level=2 * math.log(2), label="loss")
    return Drawing(figure, {title: np.column_stack(pair) for title, pair in series.items()})


def _hues(transfers: dict[Domain, Carried]) -> Drawing:
    parts = {}
    for domain, other in OTHER.items():
        title = f"{NAMES[domain]} → {NAMES[other]}"
        parts[title] = (
            hue_of(transfers[domain].truth).numpy(force=True),
            hue_of(transfers[domain].carried).numpy(force=True),
        )
    figure = images.hue_histograms(parts, truth="the target domain itself", found="carried there")
    return Drawing(
        figure,
        {f"{title} {name}": pair[k] for title, pair in parts.items() for k, name in enumerate(("truth", "carried"))},
    )


def _hue_by_digit(transfers: dict[Domain, Carried]) -> Drawing:
    """Which hue each digit got; the right one is framed."""
    tables, right = {}, {}
    for domain, other in OTHER.items():
        nearest = (hue_of(transfers[domain].carried) * 10).round().long() % 10
        table = torch.zeros(10, 10)
        table.index_put_((transfers[domain].y, nearest), torch.ones(len(nearest)), accumulate=True)
        title = f"{NAMES[domain]} → {NAMES[other]}"
        tables[title] = (table / table.sum(1, keepdim=True).clamp_min(1)).numpy(force=True)
        right[title] = (digit_hues(torch.arange(10), other) * 10).round().long().numpy(force=True)
    figure = images.code_tables(
        tables, rows="digit", columns="hue it got (degrees)", value="share of the digit", right=right, inks=True
    )
    return Drawing(figure, tables)
