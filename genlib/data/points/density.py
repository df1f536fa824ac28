"""A density in the plane whose truth is known: what every point study is measured against."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genlib.draws import Draws

Moments = tuple[tuple[float, float], tuple[float, float]]
"""Mean and variance, each per axis."""


class Points(NamedTuple):
    """Points and, where the density has classes, the class of each."""

    x: Float[Tensor, "n 2"]
    y: Int[Tensor, " n"] | None


class PointDensity:
    """A density whose truth is known. Entropies are in nats; `log_prob(x, y)` is the density given class `y`.

    Subclasses set `title`, `centre` and `extent` (half the width and height of a rectangle around its mass), and
    answer `sample`, `log_prob`, `moments`; uniform ones also `contains`.
    """

    title: str
    classes: int = 0
    standardised: bool = False
    centre: tuple[float, float] = (0.0, 0.0)
    extent: tuple[float, float] = (1.5, 1.5)

    def sample(self, n: int, draws: Draws) -> Points:
        """Independent points (`n` counts the global batch, see `Draws`)."""
        raise NotImplementedError

    def sample_balanced(self, each: int, draws: Draws) -> Points:
        """Points of every class, equally many of each; taken from a pool that is large enough for the rarest."""
        count, name = int(1.5 * each / min(self.priors)) + 50, "pool"
        x, y = self._labelled(count, draws.fork(name).whole())
        while (torch.bincount(y, minlength=self.classes) < each).any():  # once in a thousand small batches
            name += " and more"
            more, labels = self._labelled(count, draws.fork(name).whole())
            x, y = torch.cat((x, more)), torch.cat((y, labels))
        rows = torch.cat([(y == label).nonzero().squeeze(1)[:each] for label in range(self.classes)])
        rows = draws.mine(rows)
        return Points(x[rows], y[rows])

    def _labelled(self, n: int, draws: Draws) -> tuple[Tensor, Tensor]:
        x, y = self.sample(n, draws)
        assert y is not None
        return x, y

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        """Exact log density, given the class where one is given; −∞ outside the support."""
        raise NotImplementedError

    def contains(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Bool[Tensor, " n"] | None:
        """Which points lie in the support; None where the support is the whole plane."""
        return None

    @cached_property
    def moments(self) -> Moments:
        """Exact mean and variance of each coordinate."""
        raise NotImplementedError

    @cached_property
    def priors(self) -> tuple[float, ...]:
        """The probability of each class."""
        return tuple([1 / self.classes] * self.classes)

    @cached_property
    def entropy(self) -> float:
        """The entropy: the NLL that a perfect model reaches. By quadrature unless a subclass knows better."""
        return self._quadrature(None)

    @cached_property
    def class_entropies(self) -> tuple[float, ...]:
        """The entropy given each class."""
        return tuple(self._quadrature(label) for label in range(self.classes))

    @cached_property
    def class_moments(self) -> tuple[Moments, ...]:
        """Mean and variance of each coordinate, given each class; by quadrature, to about a per cent."""
        grid, cell = self._grid(400)
        moments = []
        for label in range(self.classes):
            mass = self.log_prob(grid, torch.full((len(grid),), label)).exp().unsqueeze(1) * cell
            mass = mass / mass.sum()
            mean = (mass * grid).sum(0)
            variance = (mass * (grid - mean).square()).sum(0)
            moments.append(((float(mean[0]), float(mean[1])), (float(variance[0]), float(variance[1]))))
        return tuple(moments)

    @cached_property
    def conditional_entropy(self) -> float:
        """The NLL that a perfect model reaches when it is told the class."""
        return sum(p * h for p, h in zip(self.priors, self.class_entropies, strict=True))

    def _quadrature(self, label: int | None, nodes: int = 400) -> float:
        """−∫ p ln p over the rectangle; exact to many digits for smooth densities."""
        grid, cell = self._grid(nodes)
        y = None if label is None else torch.full((len(grid),), label)
        p = self.log_prob(grid, y).exp()
        return float(-torch.special.xlogy(p, p).sum() * cell)

    def _grid(self, nodes: int) -> tuple[Tensor, float]:
        """The centres of equal cells over the rectangle, and their area."""
        axis = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes * 2 - 1
        grid = torch.cartesian_prod(axis, axis) * torch.tensor(self.extent, dtype=torch.float64)
        return grid + torch.tensor(self.centre, dtype=torch.float64), 4 * self.extent[0] * self.extent[1] / nodes**2


class Standardised(PointDensity):
    """A density moved to mean 0 and scaled to variance 1 along each axis, by its exact moments."""

    standardised = True

    def __init__(self, raw: PointDensity) -> None:
        mean, variance = raw.moments
        self.raw = raw
        self.title = f"{raw.title}, standardised"
        self.classes = raw.classes
        self._mean = torch.tensor(mean, dtype=torch.float64)
        self._std = torch.tensor(variance, dtype=torch.float64).sqrt()
        (mx, my), (sx, sy) = mean, self._std.tolist()
        self.centre = ((raw.centre[0] - mx) / sx, (raw.centre[1] - my) / sy)
        self.extent = (raw.extent[0] / sx, raw.extent[1] / sy)
        self._log_scale = float(self._std.log().sum())

    def sample(self, n: int, draws: Draws) -> Points:
        x, y = self.raw.sample(n, draws)
        return Points((x - self._mean.to(x)) / self._std.to(x), y)

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        return self.raw.log_prob(self._original(x), y) + self._log_scale

    def contains(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Bool[Tensor, " n"] | None:
        return self.raw.contains(self._original(x), y)

    @cached_property
    def moments(self) -> Moments:
        return (0.0, 0.0), (1.0, 1.0)

    @cached_property
    def priors(self) -> tuple[float, ...]:
        return self.raw.priors

    @cached_property
    def entropy(self) -> float:
        return self.raw.entropy - self._log_scale

    @cached_property
    def class_entropies(self) -> tuple[float, ...]:
        return tuple(h - self._log_scale for h in self.raw.class_entropies)

    def _original(self, x: Tensor) -> Tensor:
        return x * self._std.to(x) + self._mean.to(x)


def uniform_log_prob(inside: Bool[Tensor, " n"], log_area: Tensor | float, like: Tensor) -> Float[Tensor, " n"]:
    """−ln(area) inside, −∞ outside."""
    value = torch.as_tensor(-log_area, dtype=like.dtype, device=like.device)
    return torch.where(inside, value, -math.inf)
