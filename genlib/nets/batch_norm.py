"""Batch norm over the global batch: on several workers, what each sees of it is put together.

torch's SyncBatchNorm does this on GPUs only. On one worker this is torch's own, fused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.collectives import summed


class BatchNorm(nn.Module):
    """Batch norm of the second size of a tensor.

    Arguments:
        width: number of channels.
        momentum: weight of a batch in the running mean and variance, by which a model in evaluation mode normalises.
        scale: False leaves out the learnt scale, as before a ReLU-like function and another norm.
        shift: False leaves out the learnt shift.

    Example:
        >>> BatchNorm(3)(torch.randn(8, 3, 5, 5)).std().round().item()
        1.0
    """

    mean: Tensor
    variance: Tensor
    world = 1
    """Number of workers that share the batch; see `over_workers`."""

    def __init__(self, width: int, *, momentum: float = 0.1, scale: bool = True, shift: bool = True) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, 1e-5
        self.weight = nn.Parameter(torch.ones(width)) if scale else None
        self.bias = nn.Parameter(torch.zeros(width)) if shift else None
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Float[Tensor, "n c *shape"]) -> Float[Tensor, "n c *shape"]:
        if not self.training or BatchNorm.world == 1:
            return functional.batch_norm(
                x, self.mean, self.variance, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        axes = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1] * BatchNorm.world
        mean = summed(x.float().sum(axes)) / count
        shape = (1, -1, *(1 for _ in range(x.ndim - 2)))
        centred = x.float() - mean.reshape(shape)
        variance = summed(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * count / (count - 1), self.momentum)
        y = centred * (variance + self.eps).rsqrt().reshape(shape)
        y = y if self.weight is None else y * self.weight.reshape(shape)
        return (y if self.bias is None else y + self.bias.reshape(shape)).to(x.dtype)


@contextmanager
def over_workers(world: int) -> Iterator[None]:
    """Have every `BatchNorm` take its batch for one of so many parts of the global one."""
    before, BatchNorm.world = BatchNorm.world, world
    try:
        yield
    finally:
        BatchNorm.world = before
