"""A flow of couplings: each moves one half of the coordinates, as a network of the other half says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genlib.methods import normal
from genlib.methods.coupling_flow.affine import Affine
from genlib.methods.coupling_flow.spline import Spline
from genlib.nets.mlp import StackedMLP


class CouplingLayers(nn.Module):
    """x = f_K ∘ … ∘ f_1(z), z ~ N(0, I), with an exact inverse and ln p(x) = ln N(z) + ln |det ∂z/∂x|.

    Layer k keeps one half of the coordinates fixed (in the plane: one axis, in turns) and transforms the other half,
    coordinate by coordinate, with parameters that its network makes of the fixed one.

    Arguments:
        transform: `Affine` or `Spline`.
        nets: one network per layer, from the fixed half (and the class's features) to `transform.size` parameters
            for each coordinate of the other. Nearly zero at first, they make the flow start as about the identity.
        features: module that turns the fixed half into what the networks see instead of it.
        labels: embeds the class, where there are classes.

    Example:
        >>> flow = CouplingLayers(Affine(), StackedMLP(4, 1, 2, width=8, depth=1))
        >>> z, log_det = flow.to_latent(torch.ones(3, 2))
        >>> bool(torch.allclose(flow.to_data(z)[0], torch.ones(3, 2), atol=1e-5))
        True
    """

    def __init__(
        self,
        transform: Affine | Spline,
        nets: StackedMLP,
        *,
        features: nn.Module | None = None,
        labels: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.transform, self.nets, self.features, self.labels = transform, nets, features, labels

    def forward(self, x: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        """ln p(x), given the class where there are classes."""
        z, log_det = self.to_latent(x, y)
        return normal.log_prob(z) + log_det

    def to_latent(
        self, x: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """z and ln |det ∂z/∂x|."""
        return _last(self._steps(x, y, inverse=True))

    def to_data(
        self, z: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """x and ln |det ∂x/∂z|."""
        return _last(self._steps(z, y, inverse=False))

    def path(
        self, start: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None = None, *, inverse: bool = False
    ) -> Float[Tensor, "t n d"]:
        """Where points are before the first layer and after each one: from z to x, or back with `inverse`."""
        return torch.stack([torch.cat(halves, 1) for halves, _ in self._steps(start, y, inverse=inverse)])

    def _steps(self, start: Tensor, y: Tensor | None, *, inverse: bool) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Yield both halves and the log-derivatives so far, one per layer, before the first layer and after each.

        Halves stay apart all the way: in the plane a coupling is then a few operations on columns.
        """
        halves = list(start.chunk(2, 1))
        logs: list[Tensor] = []
        label = self.labels(y) if self.labels is not None and y is not None else None
        through = self.transform.to_latent if inverse else self.transform.to_data
        yield halves, logs
        layers = list(enumerate(self.nets.each()))
        for k, net in reversed(layers) if inverse else layers:
            inputs = halves[k % 2] if self.features is None else self.features(halves[k % 2])
            raw = net(inputs if label is None else torch.cat((inputs, label), 1))
            moved, log = through(halves[1 - k % 2], raw)
            halves = [halves[0], moved] if k % 2 == 0 else [moved, halves[1]]
            logs.append(log)
            yield halves, logs


def _last(steps: Iterator[tuple[list[Tensor], list[Tensor]]]) -> tuple[Tensor, Tensor]:
    ((halves, logs),) = deque(steps, maxlen=1)
    return torch.cat(halves, 1), reduce(torch.add, logs).sum(1)
