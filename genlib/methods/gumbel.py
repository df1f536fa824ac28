"""Draws of categories as the largest of noisy logits. Gumbel, 1954."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Gumbel noise from uniform numbers in [0, 1): the argmax of logits plus the noise is drawn as the logits say."""
    return -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))
