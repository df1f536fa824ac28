"""How a finished autoencoder is measured beside its loss: what its codes know, how clear its images are, how likely
test images are under it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genlib.data.images import images
from genlib.data.images.colours import in_ink, inked
from genlib.draws import Draws
from genlib.methods import vae
from genlib.methods.vae import VAE
from genlib.metrics.codes import agreement, best_variable
from genlib.metrics.judge import judge
from genlib.study import Tensors

if TYPE_CHECKING:
    from genlib.studies.autoencoders import Autoencoder

CHUNK = 500
"""Images that are looked at together."""
HUES = 10
"""Hues that are asked for by name, evenly spaced."""


class Knowledge(NamedTuple):
    """Of the digits, by one categorical variable."""

    variable: int
    nmi: float
    hungarian_accuracy: float
    shares: np.ndarray
    """Of each digit, by value, (10, categories)."""


def chunks(rows: Tensors) -> list[Tensors]:
    """Rows, a few hundred at a time."""
    parts = {name: torch.split(tensor, CHUNK) for name, tensor in rows.items()}
    return [dict(zip(parts, some, strict=True)) for some in zip(*parts.values(), strict=True)]


@torch.no_grad()
def nll(study: Autoencoder, model: VAE, draws: Draws) -> tuple[float, float]:
    """−ln p(x) of binary test images by importance sampling, from above, and its standard error over images."""
    rows = study.part("evaluation", draws.device)
    asked = study.image({name: tensor[: study.likelihood_images] for name, tensor in rows.items()})
    found = torch.cat(
        [
            vae.log_likelihood(model, some, draws.fork(f"importance/{k}"), samples=study.importance_samples)
            for k, some in enumerate(torch.split(asked, CHUNK))
        ]
    )
    return -found.mean().item(), found.std().item() / math.sqrt(len(found))


@torch.no_grad()
def knowledge(study: Autoencoder, model: VAE, rows: Tensors) -> Knowledge:
    """What the best variable knows of the digits: chosen on one half of the images, measured on the other."""
    chosen = torch.cat([model.encode(study.image(some)).logits.argmax(-1) for some in chunks(rows)])
    codes, classes = chosen.cpu().numpy(), rows["y"].cpu().numpy()
    half = len(codes) // 2
    best = best_variable(codes[:half], classes[:half]).variable
    table = np.zeros((10, study.code.categories))
    np.add.at(table, (classes[half:], codes[half:, best]), 1)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    return Knowledge(best, *agreement(codes[half:, best], classes[half:]), shares)


@torch.no_grad()
def controlled(study: Autoencoder, model: VAE, device: torch.device | str = "cpu") -> Tensor:
    """Every digit in every hue, (10, 10, c, h, w): decoded from the middle of what such images are encoded to.

    The continuous codes are averaged, of every categorical variable the most frequent value is taken, over a hundred
    training digits of the class, inked in the hue that is asked for.
    """
    train = images(study.data_set).train
    made = []
    for digit in range(10):
        grey = train.x[train.y == digit][:100].to(device)
        for hue in range(HUES):
            inks = torch.full((len(grey),), hue / HUES, device=device)
            x = inked(grey, inks) if study.pixels == "coloured" else (grey > 127).float()
            z, c = study.middle(model.encode(x))
            usual = vae.one_hot(c.sum(0, keepdim=True).argmax(-1), study.code.categories)
            made.append(model.decode(z.mean(0, keepdim=True), usual).sigmoid())
    return torch.cat(made).reshape(10, HUES, *study.shape)


@torch.no_grad()
def clarity(study: Autoencoder, model: VAE, x: Tensor) -> dict[str, float]:
    """What an independent judge makes of samples, and of controlled generations."""
    expert = judge(study.data_set, str(x.device))
    asked = controlled(study, model, x.device).flatten(0, 1)
    digits = torch.arange(10, device=x.device).repeat_interleave(HUES)
    found = {
        "clarity": expert.probabilities(x).amax(1).mean().item(),
        "controlled_digit": (expert.digits(asked) == digits).float().mean().item(),
    }
    if study.pixels == "coloured":
        hues = torch.arange(HUES, device=x.device).repeat(10) / HUES
        found["controlled_hue"] = in_ink(asked, hues).float().mean().item()
    return found
