"""How a set of generated images differs from a set of real ones, told in features that a judge sees."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 1_000
"""Number of rows whose distances are taken at once."""
Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]


def frechet(x: Features, y: Others) -> float:
    """‖μₓ − μᵧ‖² + tr(Cₓ + Cᵧ − 2(CₓCᵧ)^½): the Fréchet distance of two normal distributions, fitted to the rows.

    It is biased upwards, the more so the fewer rows there are: compare it with that of as many real rows.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(frechet(x, x + torch.tensor([3.0, 0.0])), 4)
        9.0
    """
    x, y = x.double(), y.double()
    spread, axes = torch.linalg.eigh(torch.cov(x.T))
    root = axes * spread.clamp_min(0).sqrt() @ axes.T
    shared = torch.linalg.eigvalsh(root @ torch.cov(y.T) @ root).clamp_min(0).sqrt().sum()
    apart = (x.mean(0) - y.mean(0)).square().sum()
    return float(apart + x.var(0).sum() + y.var(0).sum() - 2 * shared)


class Overlap(NamedTuple):
    """How two sets overlap: the share of generated rows among the real ones, and of real ones among the generated."""

    precision: float
    recall: float


def overlap(real: Features, generated: Others, *, k: int = 5) -> Overlap:
    """Precision and recall, where a row is among others if it lies no further from one of them than its k-th neighbour.

    Kynkäänniemi et al., *Improved precision and recall metric for assessing generative models*, 2019.

    Example:
        >>> real = torch.arange(12.0).unsqueeze(1)
        >>> overlap(real, real[:6])
        Overlap(precision=1.0, recall=0.9166666666666666)
    """
    return Overlap(_share_inside(generated, real, k), _share_inside(real, generated, k))


def _share_inside(rows: Tensor, others: Tensor, k: int) -> float:
    """The share of rows that lie inside a ball around one of the others, which reaches to its k-th neighbour."""
    reach = torch.cat(
        [torch.cdist(part, others).topk(k + 1, largest=False).values[:, k] for part in torch.split(others, CHUNK)]
    )
    inside = [(torch.cdist(part, others) <= reach).any(1) for part in torch.split(rows, CHUNK)]
    return torch.cat(inside).double().mean().item()
