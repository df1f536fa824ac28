"""Which noise goes with which data point: any, or the nearest, by optimal transport within the batch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def optimal_pairing(
    z: Float[Tensor, "n d"], x: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None = None
) -> Float[Tensor, "n d"]:
    """The rows of z reordered so that Σ‖zᵢ − xᵢ‖² is least: straight paths then cross less.

    Given classes, points are paired within their class (with noise picked for the class beforehand): pairing over all
    of them would tie noise to class, and p(z|y) would no longer be normal. Tong et al., *Improving and generalizing
    flow-based generative models with minibatch optimal transport*, 2024. Solved exactly by SciPy, on the host.

    Example:
        >>> optimal_pairing(torch.tensor([[5.0], [1.0]]), torch.tensor([[0.0], [4.0]])).flatten().tolist()
        [1.0, 5.0]
    """
    from scipy.optimize import linear_sum_assignment

    paired = torch.empty_like(z)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device) if y is None else y
    for label in torch.unique(labels):
        rows = (labels == label).nonzero().squeeze(1)
        cost = torch.cdist(x[rows], z[rows]).square()
        _, nearest = linear_sum_assignment(cost.cpu().numpy())
        paired[rows] = z[rows[torch.from_numpy(nearest).to(rows.device)]]
    return paired
