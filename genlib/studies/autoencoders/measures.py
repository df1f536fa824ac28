"""How a finished autoencoder is measured beside its loss: what its codes know, how clear its images are, how likely
test images are under it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genlib.data.images import Labelled
from genlib.data.images.colours import in_ink, inked
from genlib.draws import Draws
from genlib.methods import vae
from genlib.methods.vae import VAE
from genlib.metrics.codes import agreement, best_variable
from genlib.study import Tensors

CHUNK = 500
"""Number of images that are looked at together."""
HUES = 10
"""Number of hues, evenly spaced, that controlled generation is asked for."""


class Knowledge(NamedTuple):
    """How much one categorical variable says about the digits."""

    variable: int
    nmi: float
    hungarian_accuracy: float
    shares: np.ndarray
    """The share of each digit that has each value, (10, categories)."""


def chunks(rows: Tensors) -> list[Tensors]:
    """Rows, a few hundred at a time."""
    parts = {name: torch.split(tensor, CHUNK) for name, tensor in rows.items()}
    return [dict(zip(parts, chunk, strict=True)) for chunk in zip(*parts.values(), strict=True)]


@torch.no_grad()
def nll(model: VAE, x: Tensor, draws: Draws, *, samples: int) -> tuple[float, float]:
    """−ln p(x) of binary images by importance sampling, from above, and its standard error over images."""
    log_p = torch.cat(
        [
            vae.log_likelihood(model, chunk, draws.fork(f"importance/{k}"), samples=samples)
            for k, chunk in enumerate(torch.split(x, CHUNK))
        ]
    )
    return -log_p.mean().item(), log_p.std().item() / math.sqrt(len(log_p))


@torch.no_grad()
def knowledge(model: VAE, x: Tensor, y: Tensor) -> Knowledge:
    """How much the best variable says about the digits: chosen on one half of the images, measured on the other."""
    chosen = torch.cat([model.encode(chunk).logits.argmax(-1) for chunk in torch.split(x, CHUNK)])
    codes, classes = chosen.numpy(force=True), y.numpy(force=True)
    half = len(codes) // 2
    best = best_variable(codes[:half], classes[:half]).variable
    table = np.zeros((10, model.categories))
    np.add.at(table, (classes[half:], codes[half:, best]), 1)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    return Knowledge(best, *agreement(codes[half:, best], classes[half:]), shares)


@torch.no_grad()
def controlled(model: VAE, train: Labelled, *, coloured: bool) -> Tensor:
    """Every digit in every hue, (10, 10, c, h, w): decoded from the middle of what such images are encoded to.

    Over a hundred training digits of the class, inked in the hue that is asked for, the continuous codes are averaged,
    and of every categorical variable the most frequent value is taken. The images are made on the model's device.
    """
    device = next(model.parameters()).device
    decoded = []
    for digit in range(10):
        grey = train.x[train.y == digit][:100].to(device)
        for hue in range(HUES):
            inks = torch.full((len(grey),), hue / HUES, device=device)
            x = inked(grey, inks) if coloured else (grey > 127).float()
            z, c = model.encode(x).middle
            usual = vae.one_hot(c.sum(0, keepdim=True).argmax(-1), model.categories)
            decoded.append(model.decode(z.mean(0, keepdim=True), usual).sigmoid())
    return torch.cat(decoded).reshape(10, HUES, *model.shape)


@torch.no_grad()
def clarity(judge: Any, x: Tensor, asked: Tensor, *, coloured: bool) -> dict[str, float]:
    """What an independent judge makes of samples `x`, and of controlled generations `asked`."""
    asked = asked.flatten(0, 1)
    digits = torch.arange(10, device=x.device).repeat_interleave(HUES)
    metrics = {
        "clarity": judge.probabilities(x).amax(1).mean().item(),
        "controlled_digit": (judge.classes(asked) == digits).float().mean().item(),
    }
    if coloured:
        hues = torch.arange(HUES, device=x.device).repeat(10) / HUES
        metrics["controlled_hue"] = in_ink(asked, hues).float().mean().item()
    return metrics
