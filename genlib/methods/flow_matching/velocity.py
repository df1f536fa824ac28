"""Velocity fields: modules that predict, at x_t = (1 − t)z + tx, the mean of x − z."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genlib.nets.mlp import joined

EARLIEST = 1e-3
"""Added to t and 1 − t, it keeps ln((1 − t)/t) finite at both ends."""


class PlainVelocity(nn.Module):
    """v = net(x, t[, class]).

    Arguments:
        net: takes the point, the time and, after them, the features of the class.
        labels: embeds the class, where there are classes.
    """

    def __init__(self, net: nn.Module, *, labels: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.labels = net, labels

    def forward(
        self,
        x: Float[Tensor, "n d"],
        t: Float[Tensor, ""] | Float[Tensor, " n"],
        y: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n d"]:
        return self.net(joined(x, t.expand(x.shape[0]).unsqueeze(1), y, labels=self.labels))


class PreconditionedVelocity(nn.Module):
    """The network sees and predicts unit variance at every t, for data of mean 0 and variance s² along each axis.

    With D = (1 − t)² + s²t², the variance of x_t: were the data normal, v = (s²t − (1 − t))/D·x would be exact. What is
    left has standard deviation s/√D, so v = (s²t − (1 − t))/D·x + s/√D·net(x/√D, ln((1 − t)/t)/4): what Karras et al.
    (2022) do for denoisers. The network sees sines and cosines of ln((1 − t)/t) too: what there is to predict changes
    fast with t where the noise is as fine as the data's detail.

    Arguments:
        net: takes the point, `1 + 2·time_features` numbers for the time and, after them, the features of the class.
        data_std: s, the standard deviation of the data.
        time_features: number of frequencies of these sines and cosines.
        labels: embeds the class, where there are classes.
    """

    _waves: Tensor

    def __init__(
        self, net: nn.Module, *, data_std: float, time_features: int = 4, labels: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.net, self.labels = net, labels
        self._data_std = data_std
        self.register_buffer("_waves", torch.arange(1, time_features + 1) * (math.pi / 3), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "n d"],
        t: Float[Tensor, ""] | Float[Tensor, " n"],
        y: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n d"]:
        t = t.expand(x.shape[0]).unsqueeze(1)
        total = variance(t, self._data_std)
        scale = total.rsqrt()
        noise_level = ((1 - t + EARLIEST) / (t + EARLIEST)).log() / 4
        angles = noise_level * self._waves
        time = torch.cat((noise_level, angles.sin(), angles.cos()), 1)
        net = self.net(joined(x * scale, time, y, labels=self.labels))
        return (self._data_std**2 * t - (1 - t)) / total * x + self._data_std * scale * net


def variance(t: Tensor, data_std: float) -> Tensor:
    """The variance of x_t along each axis: (1 − t)² + s²t²."""
    return (1 - t).square() + (data_std * t).square()
