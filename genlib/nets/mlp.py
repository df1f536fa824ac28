"""Multilayer perceptrons and random Fourier features."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["leaky_relu", "relu", "silu", "gelu"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": partial(functional.leaky_relu, inplace=True),  # in place where the gradient allows it: new memory
    "relu": partial(functional.relu, inplace=True),  # costs more than what is computed
    "silu": functional.silu,
    "gelu": functional.gelu,
}


class MLP(nn.Sequential):
    """Linear layers with an activation between them.

    Arguments:
        inputs, outputs: features in and out.
        width, depth: features and number of hidden layers.
        activation: activation function between the layers; none follows the last.
        last: factor on the initial weights of the last layer; a small one makes the function nearly zero at first.

    Example:
        >>> MLP(3, 2, width=1024, depth=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int, depth: int, activation: Activation = "silu", last: float = 1.0
    ) -> None:
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for i, o in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(i, o), ACTIVATIONS[activation]()]
        end = nn.Linear(sizes[-1], outputs)
        with torch.no_grad():
            end.weight.mul_(last)
            end.bias.mul_(last)
        super().__init__(*layers, end)


class StackedMLP(nn.Module):
    """Several perceptrons of one shape, with the weights of all in one tensor per layer.

    They compute what as many `MLP`s would; an optimizer has a handful of tensors to look after instead of dozens.

    Arguments:
        copies: number of perceptrons.
        inputs, outputs, width, depth, activation, last: as for `MLP`, the same for each.

    Example:
        >>> first, second = StackedMLP(2, 3, 1, width=16, depth=2).each()
        >>> first(torch.zeros(5, 3)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        copies: int,
        inputs: int,
        outputs: int,
        *,
        width: int,
        depth: int,
        activation: Activation = "silu",
        last: float = 1.0,
    ) -> None:
        super().__init__()
        kind: dict[str, Any] = {"width": width, "depth": depth, "activation": activation, "last": last}
        nets = [
            [layer for layer in MLP(inputs, outputs, **kind) if isinstance(layer, nn.Linear)] for _ in range(copies)
        ]
        layers = list(zip(*nets, strict=True))
        self.weights = nn.ParameterList(torch.stack([linear.weight.detach() for linear in same]) for same in layers)
        self.biases = nn.ParameterList(torch.stack([linear.bias.detach() for linear in same]) for same in layers)
        self._between = FUNCTIONS[activation]

    def each(self) -> list[Callable[[Tensor], Tensor]]:
        """The perceptrons, as functions."""
        weights = zip(*(weight.unbind(0) for weight in self.weights), strict=True)
        biases = zip(*(bias.unbind(0) for bias in self.biases), strict=True)
        return [partial(self._forward, w, b) for w, b in zip(weights, biases, strict=True)]

    def _forward(self, weights: tuple[Tensor, ...], biases: tuple[Tensor, ...], x: Tensor) -> Tensor:
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = self._between(functional.linear(x, weight, bias))
        return functional.linear(x, weights[-1], biases[-1])


class FourierFeatures(nn.Module):
    """x → (x, cos 2πBx, sin 2πBx) with a fixed random B: lets an MLP see detail at the scale 1/`scale`.

    Columns beyond `inputs` (a time, a class embedding) have no part in Bx and pass as they are.
    Tancik et al., *Fourier features let networks learn high frequency functions in low dimensional domains*, 2020.
    """

    frequencies: Tensor

    def __init__(self, inputs: int, features: int, *, scale: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(features, inputs) * scale)
        self.inputs, self.outputs = inputs, inputs + 2 * features

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        angles = 2 * math.pi * x[:, : self.inputs] @ self.frequencies.T
        return torch.cat((x, angles.cos(), angles.sin()), -1)


def joined(
    x: Tensor, time: Tensor, y: Tensor | None, *, features: nn.Module | None = None, labels: nn.Module | None = None
) -> Tensor:
    """The input of a network of points in time: the point (or features of it), the time, the class's embedding."""
    parts = [x if features is None else features(x), time]
    if labels is not None and y is not None:
        parts.append(labels(y))
    return torch.cat(parts, 1)
