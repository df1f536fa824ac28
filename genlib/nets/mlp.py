"""Multilayer perceptrons and random Fourier features."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Activation = Literal["leaky_relu", "relu", "silu", "gelu"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


class MLP(nn.Sequential):
    """Linear layers with an activation between them.

    Arguments:
        inputs, outputs: features in and out.
        width, depth: features and number of hidden layers.
        activation: between layers, not after the last.
        zero: start from the function that is zero everywhere.

    Example:
        >>> MLP(3, 2, width=1024, depth=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int, depth: int, activation: Activation = "silu", zero: bool = False
    ) -> None:
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for i, o in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(i, o), ACTIVATIONS[activation]()]
        last = nn.Linear(sizes[-1], outputs)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


class FourierFeatures(nn.Module):
    """x → (x, cos 2πBx, sin 2πBx) with a fixed random B: lets an MLP see detail at the scale 1/`scale`.

    Tancik et al., *Fourier features let networks learn high frequency functions in low dimensional domains*, 2020.
    """

    frequencies: Tensor

    def __init__(self, inputs: int, features: int, *, scale: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(features, inputs) * scale)
        self.outputs = inputs + 2 * features

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        angles = 2 * math.pi * x @ self.frequencies.T
        return torch.cat((x, angles.cos(), angles.sin()), -1)
