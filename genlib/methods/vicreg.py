"""VICReg: embeddings of two views of an image are to agree, to vary, and to say different things in each dimension.

Bardes, Ponce & LeCun, 2022, https://arxiv.org/abs/2105.04906. The three terms are functions of the embeddings of the
views; on several workers variances and covariances are those of the global batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from genlib.collectives import summed

Embeddings = Float[Tensor, "n d"]


class Spread(NamedTuple):
    """How embeddings of the global batch are spread: standard deviations, covariances."""

    std: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]


def invariance(views: list[Embeddings]) -> Float[Tensor, ""]:
    """The mean squared difference of embeddings, over rows, dimensions and all pairs of views.

    Example:
        >>> invariance([torch.zeros(4, 2), torch.ones(4, 2)]).item()
        1.0
    """
    if len(views) == 2:
        return functional.mse_loss(views[0], views[1])
    apart = torch.stack(views)
    apart = apart - apart.mean(0)
    # The mean over pairs of (a − b)² is twice the variance, which torch's own `var` takes far longer for.
    return 2 * apart.square().mean() * len(views) / (len(views) - 1)


def spread(z: Embeddings, *, epsilon: float = 1e-4, world: int = 1) -> Spread:
    """Standard deviation √(var + ε) of every dimension and the covariances between them, over the global batch."""
    count = len(z) * world
    z = z.float()
    mean = (z.sum(0) if world == 1 else summed(z.sum(0))) / count
    centred = z - mean
    products = centred.T @ centred
    covariance = (products if world == 1 else summed(products)) / (count - 1)
    return Spread((covariance.diagonal() + epsilon).sqrt(), covariance)


def variance(std: Float[Tensor, " d"], *, target: float = 1.0) -> Float[Tensor, ""]:
    """The mean shortfall of the dimensions' standard deviations: max(0, γ − σ).

    Example:
        >>> variance(torch.tensor([0.5, 2.0])).item()
        0.25
    """
    return functional.relu(target - std).mean()


def covariance(matrix: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """The sum of squared covariances between different dimensions, per dimension.

    Example:
        >>> covariance(torch.tensor([[1.0, 0.5], [0.5, 1.0]])).item()
        0.25
    """
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)


def terms(
    views: list[Embeddings], *, target: float = 1.0, epsilon: float = 1e-4, world: int = 1
) -> dict[str, Float[Tensor, ""]]:
    """The three terms of two or more views, unweighted; variance and covariance are summed over the views."""
    spreads = [spread(z, epsilon=epsilon, world=world) for z in views]
    return {
        "invariance": invariance([z.float() for z in views]),
        "variance": torch.stack([variance(one.std, target=target) for one in spreads]).sum(),
        "covariance": torch.stack([covariance(one.covariance) for one in spreads]).sum(),
    }
