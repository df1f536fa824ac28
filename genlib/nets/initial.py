"""How layers begin, where that is not torch's way."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def begin_faintly(layer: nn.Linear | nn.Conv2d) -> None:
    """Have a layer add next to nothing at first: a hundredth of torch's weights, and no bias.

    At exactly zero no gradient would reach what comes before it in the first update.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> begin_faintly(layer)
        >>> bool(layer.weight.abs().max() < 0.01)
        True
    """
    layer.weight.mul_(0.01)
    if layer.bias is not None:
        layer.bias.zero_()
