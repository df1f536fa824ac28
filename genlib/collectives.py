"""Sums over workers with gradients: what a batch shares (means, covariances) is of the global batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class _Sum(torch.autograd.Function):
    """Each worker gets the sum, and what all workers' losses ask of it is summed on the way back.

    The loop averages gradients over workers, so the gradient is that of the mean of their losses.
    """

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def summed(x: Tensor) -> Tensor:
    """The sum of a tensor over all workers, on each of them."""
    return _Sum.apply(x)  # type: ignore[no-untyped-call]
