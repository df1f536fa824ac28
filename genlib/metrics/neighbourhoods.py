"""Who is near and far in feature space: odd images by the density of their neighbours, and hubs."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from genlib.metrics.probes import Features, Others, nearest


def inverse_density(x: Features, seen: Others, *, k: int = 2) -> Float[Tensor, " m"]:
    """The mean distance of every row of `seen` to the k nearest rows of `x`: the larger, the odder.

    Example:
        >>> inverse_density(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [3.0]])).tolist()
        [0.5, 2.5]
    """
    return nearest(x, seen, k)[0].mean(1)


def auc(odd: Float[Tensor, " n"], usual: Float[Tensor, " m"]) -> float:
    """The probability that an odd row scores higher than a usual one; ties count half.

    Example:
        >>> auc(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0]))
        0.9166666666666666
    """
    ordered = usual.sort().values
    below = torch.searchsorted(ordered, odd, right=False)
    upto = torch.searchsorted(ordered, odd, right=True)
    return ((below + upto).double() / 2).mean().item() / len(usual)


def roc(odd: Float[Tensor, " n"], usual: Float[Tensor, " m"]) -> tuple[np.ndarray, np.ndarray]:
    """The shares of usual and of odd rows above every threshold, from the strictest on."""
    levels = torch.cat((odd, usual)).unique().flip(0)
    found = [torch.searchsorted((-part).sort().values, -levels, right=True) / len(part) for part in (usual, odd)]
    alarms, hits = (np.concatenate(([0.0], share.cpu().numpy())) for share in found)
    return alarms, hits


def occurrences(x: Features, *, k: int = 5) -> Int64[Tensor, " n"]:
    """How often every row is among the k farthest of another one.

    Example:
        >>> occurrences(torch.tensor([[0.0], [1.0], [2.0], [99.0]]), k=1).tolist()
        [1, 0, 0, 3]
    """
    return torch.bincount(nearest(x, x, k, farthest=True)[1].flatten(), minlength=len(x))


def hubness(counts: Int64[Tensor, " n"]) -> float:
    """The skewness of how often rows occur: 0 where none is a hub. Radovanović et al., 2010.

    Example:
        >>> hubness(torch.tensor([1, 2, 3]))
        0.0
    """
    centred = counts.double() - counts.double().mean()
    deviation = centred.square().mean().sqrt()
    return float((centred / deviation).pow(3).mean()) if deviation else 0.0
