"""The standard normal distribution, where flows begin and end."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor


def log_prob(z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """ln N(z; 0, I).

    Example:
        >>> import torch
        >>> round(float(log_prob(torch.zeros(1, 2))), 4)
        -1.8379
    """
    return -0.5 * z.square().sum(1) - 0.5 * math.log(2 * math.pi) * z.shape[1]
