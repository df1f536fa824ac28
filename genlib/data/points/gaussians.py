"""Eight Gaussians on a circle."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genlib.data.points.density import PointDensity, Points
from genlib.draws import Draws


class Gaussians(PointDensity):
    """An equal mixture of round Gaussians, evenly spaced on a circle; the class is the Gaussian."""

    title = "eight Gaussians"

    def __init__(self, classes: int = 8, radius: float = 2.0, noise: float = 0.2) -> None:
        self.classes = classes
        self.extent = (radius + 6 * noise, radius + 6 * noise)
        self._radius, self._noise = radius, noise

    def sample(self, n: int, draws: Draws) -> Points:
        y, noise = draws.integers(self.classes, n), draws.normal(n, 2)
        return Points(self._centres.to(noise)[y] + self._noise * noise, y)

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        squares = (x.unsqueeze(1) - self._centres.to(x)).square().sum(-1)  # (n, classes)
        log_p = -squares / (2 * self._noise**2) - math.log(2 * math.pi * self._noise**2)
        if y is not None:
            return log_p.gather(1, y.unsqueeze(1)).squeeze(1)
        return torch.logsumexp(log_p, 1) - math.log(self.classes)

    @cached_property
    def moments(self) -> tuple[tuple[float, float], tuple[float, float]]:
        variance = self._radius**2 / 2 + self._noise**2
        return (0.0, 0.0), (variance, variance)

    @cached_property
    def class_entropies(self) -> tuple[float, ...]:
        return tuple([math.log(2 * math.pi * math.e * self._noise**2)] * self.classes)

    @cached_property
    def _centres(self) -> Tensor:
        angle = torch.arange(self.classes, dtype=torch.float64) * (2 * math.pi / self.classes)
        return self._radius * torch.stack((angle.cos(), angle.sin()), -1)
