"""The black squares of a 4 × 4 board."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genlib.data.points.density import PointDensity, Points, uniform_log_prob
from genlib.draws import Draws


class Checkerboard(PointDensity):
    """Uniform on the eight squares of [−2, 2]² whose column and row have an even sum."""

    title = "checkerboard"
    extent = (2.5, 2.5)

    def sample(self, n: int, draws: Draws) -> Points:
        square, inside = draws.integers(8, n), draws.uniform(n, 2)
        column = square // 2
        row = 2 * (square % 2) + column % 2
        return Points(torch.stack((column, row), -1) + inside - 2, None)

    def contains(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Bool[Tensor, " n"]:
        return (x.abs() < 2).all(-1) & (x.floor().long().sum(-1) % 2 == 0)

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        return uniform_log_prob(self.contains(x), math.log(8), x)

    @cached_property
    def moments(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (0.0, 0.0), (4 / 3, 4 / 3)

    @cached_property
    def entropy(self) -> float:
        return math.log(8)
