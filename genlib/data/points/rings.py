"""The Olympic rings, in two layouts.

`Rings`: the equal mixture of five uniform annuli, radii .8 to 1; where two overlap their densities add.
`RingsUnion` (the course's): uniform on the union of five annuli, radii .875 to 1.125; the class is the ring of the
point, a fair coin among the rings that share it.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genlib.data.points.density import PointDensity, Points, uniform_log_prob
from genlib.draws import Draws

CENTRES = ((0.0, 0.0), (2.0, 0.0), (4.0, 0.0), (1.0, -1.0), (3.0, -1.0))
TRIES = 24
"""Proposals per point in rejection sampling; all fail once in more than 10¹² points."""


class Rings(PointDensity):
    """p(x) = Σₖ 1[x in ring k] / (5·area)."""

    title = "Olympic rings"
    classes = 5
    centre = (2.0, -0.5)
    extent = (3.5, 2.0)

    def __init__(self, inner: float = 0.8, outer: float = 1.0) -> None:
        self.inner, self.outer = inner, outer
        self.area = math.pi * (outer**2 - inner**2)

    def sample(self, n: int, draws: Draws) -> Points:
        y, u = draws.integers(5, n), draws.uniform(n, 2)
        return Points(self._place(y, u), y)

    def membership(self, x: Float[Tensor, "n 2"]) -> Bool[Tensor, "n 5"]:
        """Which rings each point lies in."""
        distance = torch.linalg.vector_norm(
            x.unsqueeze(1) - torch.tensor(CENTRES, dtype=x.dtype, device=x.device), dim=-1
        )
        return (distance >= self.inner) & (distance <= self.outer)

    def contains(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Bool[Tensor, " n"]:
        rings = self.membership(x)
        return rings.any(1) if y is None else rings.gather(1, y.unsqueeze(1)).squeeze(1)

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        if y is not None:
            return uniform_log_prob(self.contains(x, y), math.log(self.area), x)
        return (self.membership(x).sum(1).to(x) / (5 * self.area)).log()

    @cached_property
    def moments(self) -> tuple[tuple[float, float], tuple[float, float]]:
        centres = np.array(CENTRES)
        variance = centres.var(0) + (self.inner**2 + self.outer**2) / 4
        return (float(centres[:, 0].mean()), float(centres[:, 1].mean())), (float(variance[0]), float(variance[1]))

    @cached_property
    def entropy(self) -> float:
        areas = _scan(self.inner, self.outer)["areas"]  # by the number of rings that share it
        p = np.arange(1, 6) / (5 * self.area)
        return float(-(areas * p * np.log(p)).sum())

    @cached_property
    def class_entropies(self) -> tuple[float, ...]:
        return tuple([math.log(self.area)] * 5)

    def _place(self, y: Tensor, u: Tensor) -> Tensor:
        """Points of ring y (…), from uniform numbers u (…, 2)."""
        radius = (self.inner**2 + (self.outer**2 - self.inner**2) * u[..., 0]).sqrt()
        angle = 2 * math.pi * u[..., 1]
        return torch.tensor(CENTRES, dtype=u.dtype, device=u.device)[y] + radius.unsqueeze(-1) * torch.stack(
            (angle.cos(), angle.sin()), -1
        )


class RingsUnion(Rings):
    """p(x) = 1[x in any ring] / area of the union."""

    title = "Olympic rings (course)"

    def __init__(self, inner: float = 0.875, outer: float = 1.125) -> None:
        super().__init__(inner, outer)

    def sample(self, n: int, draws: Draws) -> Points:
        # A point that k rings share is proposed k times as often as it should: keep one proposal in k.
        y, u = draws.integers(5, n, TRIES), draws.uniform(n, TRIES, 3)
        x = self._place(y, u[..., :2])
        shared = self.membership(x.reshape(-1, 2)).sum(1).reshape(y.shape).clamp_min(1)
        first = (u[..., 2] * shared < 1).to(torch.uint8).argmax(1)
        rows = torch.arange(len(y), device=y.device)
        return Points(x[rows, first], y[rows, first])

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        inside = uniform_log_prob(self.contains(x, y), math.log(self._union["areas"].sum()), x)
        if y is None:
            return inside
        priors = torch.tensor(self.priors, dtype=x.dtype, device=x.device)
        return inside - self.membership(x).sum(1).clamp_min(1).to(x).log() - priors.log()[y]

    @cached_property
    def moments(self) -> tuple[tuple[float, float], tuple[float, float]]:
        area = self._union["areas"].sum()
        mean, square = self._union["first"] / area, self._union["second"] / area
        variance = square - mean**2
        return (float(mean[0]), float(mean[1])), (float(variance[0]), float(variance[1]))

    @cached_property
    def priors(self) -> tuple[float, ...]:
        shares = self._union["ring_shares"]  # (5 rings, shared by 1..5): area of each ring by how many share it
        weights = (shares / np.arange(1, 6)).sum(1)
        return tuple((weights / weights.sum()).tolist())

    @cached_property
    def entropy(self) -> float:
        return float(np.log(self._union["areas"].sum()))

    @cached_property
    def class_entropies(self) -> tuple[float, ...]:
        shares, union = self._union["ring_shares"], self._union["areas"].sum()
        values = []
        for share, prior in zip(shares, self.priors, strict=True):
            p = 1 / (np.arange(1, 6) * union * prior)
            values.append(float(-(share * p * np.log(p)).sum()))
        return tuple(values)

    @cached_property
    def _union(self) -> dict[str, np.ndarray]:
        return _scan(self.inner, self.outer)


def _scan(inner: float, outer: float, lines: int = 40_001) -> dict[str, np.ndarray]:
    """Exact lengths along horizontal lines, summed over lines: areas by how many rings share them, and moments.

    Returns `areas` (5), `ring_shares` (5 rings, 5), and the union's integrals of x, y (`first`) and x², y² (`second`).
    """
    centres = np.array(CENTRES)
    bottom, top = centres[:, 1].min() - outer, centres[:, 1].max() + outer
    height = (top - bottom) / lines
    y = bottom + (np.arange(lines) + 0.5) * height
    dy = y[:, None] - centres[None, :, 1]  # (lines, rings)
    far = np.sqrt(np.clip(outer**2 - dy**2, 0, None))
    near = np.sqrt(np.clip(inner**2 - dy**2, 0, None))
    ends = np.sort(np.concatenate([centres[:, 0] + s * d for s in (-1, 1) for d in (far, near)], 1), 1)  # (lines, 20)
    left, right = ends[:, :-1], ends[:, 1:]
    middle = (left + right) / 2
    distance = np.hypot(middle[:, :, None] - centres[:, 0], dy[:, None, :])  # (lines, 19, rings)
    member = (distance >= inner) & (distance <= outer)
    shared = member.sum(-1)
    length = (right - left) * height
    areas = np.array([length[shared == k].sum() for k in range(1, 6)])
    ring_shares = np.array([[(length * member[:, :, r])[shared == k].sum() for k in range(1, 6)] for r in range(5)])
    inside = shared > 0
    rows = y[:, None]
    first = np.array([(length * middle)[inside].sum(), (length * rows)[inside].sum()])
    second_x = (right**3 - left**3) / 3 * height
    second = np.array([second_x[inside].sum(), (length * rows**2)[inside].sum()])
    return {"areas": areas, "ring_shares": ring_shares, "first": first, "second": second}
