"""Consistency training: of one image under one noise, a model is to see the same at a level and at a lower one.

Whatever a model then sees in pure noise is a sample, so that one step draws it. Geng et al., *Consistency models made
easy*, 2025: the two levels lie far apart at first, and come nearer in stages.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.methods.diffusion.denoisers import NoisePredictor, each

STAGES = 8
"""Number of stages in which the two levels come nearer to each other."""
SLACK = 0.00054
"""Where the distance of images turns from a square into a length, over the root of their number of pixels: Song and
Dhariwal's, *Improved techniques for training consistency models*, 2024."""


def lower_level(sigma: Float[Tensor, " n"], stage: int) -> Float[Tensor, " n"]:
    """The level that a level is compared with: σ·(1 − 2^−(stage+1)·(1 + 8·sigmoid(−σ))), and 0 where that is negative.

    In the first stages low levels are compared with the clean image itself.

    Example:
        >>> lower_level(torch.tensor([0.1, 80.0]), 0).tolist()
        [0.0, 40.0]
    """
    return (sigma * (1 - 2.0 ** -(1 + stage) * (1 + 8 * torch.sigmoid(-sigma)))).clamp_min(0)


def consistency_loss(
    live: NoisePredictor,
    fixed: NoisePredictor,
    x: Float[Tensor, "n ..."],
    noise: Float[Tensor, "n ..."],
    sigma: Float[Tensor, " n"],
    *,
    stage: int,
) -> Float[Tensor, ""]:
    """How far apart the clean images are that are seen at σ and at the lower level, over the distance of the levels.

    Arguments:
        live, fixed: the same model, whose gradients are wanted, and not.
        stage: from 0 to `STAGES` − 1.
    """
    lower = lower_level(sigma, stage)
    seen = x + each(sigma, x) * noise
    clean = seen - each(sigma, x) * live(seen, sigma)
    least = lower.clamp_min(1e-3)  # a model answers at no level 0: there the image is known
    below = x + each(least, x) * noise
    known = below - each(least, x) * fixed(below, least)
    known = known.where(each(lower, x) > 0, x).detach()
    pixels = x[0].numel()
    apart, slack = (clean - known).square().flatten(1).sum(1), SLACK * pixels**0.5
    return (((apart + slack**2).sqrt() - slack) / (sigma - lower)).mean() / pixels**0.5
