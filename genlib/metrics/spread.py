"""How features are spread: standard deviation, effective rank, alignment and uniformity. They tell collapse."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Features = Float[Tensor, "n d"]


def mean_std(x: Features) -> float:
    """The mean over dimensions of their standard deviations: 0 where all rows are the same.

    Example:
        >>> mean_std(torch.ones(10, 3))
        0.0
    """
    return x.std(0).mean().item()


def spectrum(x: Features) -> Float[Tensor, " r"]:
    """The singular values of the centred features, largest first, divided by √n: deviations along principal axes."""
    centred = (x - x.mean(0)).double()
    return torch.linalg.eigvalsh(centred.T @ centred / len(x)).clamp_min(0).sqrt().flip(0).float()


def effective_rank(x: Features) -> float:
    """exp of the entropy of the singular values' shares (Roy & Vetterli, 2007): d for equal ones, 1 for a single one.

    Constant features have rank 0.

    Example:
        >>> round(effective_rank(torch.cat((torch.eye(4), -torch.eye(4)))), 3)
        4.0
    """
    values = spectrum(x)
    # What rounding leaves of constant features is no spread.
    if values[0] <= 1e-6 * x.abs().max():
        return 0.0
    share = values / values.sum()
    return torch.special.entr(share).sum().exp().item()


def alignment(a: Features, b: Features) -> float:
    """The mean squared distance of two views of an image on the unit sphere. Wang & Isola, 2020.

    Example:
        >>> alignment(torch.eye(2), 3 * torch.eye(2))
        0.0
    """
    apart = functional.normalize(a, dim=1) - functional.normalize(b, dim=1)
    return apart.square().sum(1).mean().item()


def uniformity(x: Features) -> float:
    """ln of the mean Gaussian potential e^(−2d²) of all pairs on the unit sphere: 0 where all are one, lower is better.

    Example:
        >>> abs(round(uniformity(torch.ones(5, 3)), 3))
        0.0
    """
    return torch.pdist(functional.normalize(x, dim=1)).square().mul(-2).exp().mean().log().item()
