"""Sliced Wasserstein distance: how far mass must move, averaged over directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DIRECTIONS = 64


def sliced_wasserstein(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> float:
    """The mean, over 64 directions, of the Wasserstein-1 distance of two equally large clouds' projections.

    In the plane the directions are evenly spaced, elsewhere a fixed random set: the number itself is not random.

    Example:
        >>> x = torch.randn(1000, 2)
        >>> round(sliced_wasserstein(x, x + torch.tensor([1.0, 0.0])), 3)  # 2/π: the mean of |cos|
        0.637
    """
    directions = _directions(a.shape[1]).to(a)
    return float((_in_order(a @ directions) - _in_order(b @ directions)).abs().mean())


def sliced_wasserstein_floor(real: Sequence[Float[Tensor, "n d"]]) -> float:
    """The distance that independent real clouds of the same size have among themselves: the mean over all pairs."""
    distances = [sliced_wasserstein(a, b) for a, b in combinations(real, 2)]
    return sum(distances) / len(distances)


def _in_order(projected: Float[Tensor, "n directions"]) -> Float[Tensor, "directions n"]:
    """The projections on each direction in order. On a CPU numpy sorts eight times as fast as torch."""
    rows = projected.detach().T.contiguous()
    if rows.device.type != "cpu" or rows.dtype not in (torch.float32, torch.float64):
        return rows.sort(1).values
    return torch.from_numpy(np.sort(rows.numpy(), axis=1))


def _directions(dimensions: int) -> Tensor:
    if dimensions == 2:
        angles = (torch.arange(DIRECTIONS) + 0.5) * (math.pi / DIRECTIONS)
        return torch.stack((angles.cos(), angles.sin()))
    generator = torch.Generator()
    generator.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(dimensions, DIRECTIONS, generator=generator), dim=0)
