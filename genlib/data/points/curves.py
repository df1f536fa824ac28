"""Curves with Gaussian noise around them: the spiral and the two moons.

p(x) = ∫ N(x; γ(u), s²I) du over u ∈ [0, 1]. The integrand is smooth at the scale of s, so a midpoint rule with nodes
closer than s is exact to rounding; entropies follow by quadrature over the plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genlib.data.points.density import PointDensity, Points
from genlib.draws import Draws

Curve = Callable[[Tensor], Tensor]
"""A function of u (…) in [0, 1] that gives points (…, 2)."""


class NoisyCurves(PointDensity):
    """An equal mixture of curves, each blurred by isotropic noise; the class is the curve, where there are several."""

    def __init__(
        self,
        title: str,
        curves: tuple[Curve, ...],
        noise: float,
        *,
        centre: tuple[float, float],
        extent: tuple[float, float],
    ) -> None:
        self.title = title
        self.classes = len(curves) if len(curves) > 1 else 0
        self.centre, self.extent = centre, extent
        self._curves = curves
        self._noise = noise

    def sample(self, n: int, draws: Draws) -> Points:
        u, noise = draws.uniform(n), draws.normal(n, 2)
        if not self.classes:
            return Points(self._curves[0](u) + self._noise * noise, None)
        y = draws.integers(self.classes, n)
        candidates = torch.stack([curve(u) for curve in self._curves])  # (curves, n, 2)
        return Points(candidates[y, torch.arange(len(y), device=y.device)] + self._noise * noise, y)

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        nodes = self._nodes.to(x)  # (curves, m, 2)
        rows = []
        for chunk in torch.split(x, 8192):  # bounds the (curves, n, m) intermediate
            squares = torch.cdist(
                chunk.expand(len(nodes), -1, -1), nodes, compute_mode="donot_use_mm_for_euclid_dist"
            ).square()
            per_curve = torch.logsumexp(-squares / (2 * self._noise**2), -1) - math.log(nodes.shape[1])
            rows.append(per_curve)
        log_p = torch.cat(rows, -1) - math.log(2 * math.pi * self._noise**2)  # (curves, n)
        if y is not None:
            return log_p.gather(0, y.unsqueeze(0)).squeeze(0)
        return torch.logsumexp(log_p, 0) - math.log(len(nodes))

    @cached_property
    def moments(self) -> tuple[tuple[float, float], tuple[float, float]]:
        flat = self._nodes.reshape(-1, 2)
        variance = flat.var(0, correction=0) + self._noise**2
        mean = flat.mean(0)
        return (float(mean[0]), float(mean[1])), (float(variance[0]), float(variance[1]))

    @cached_property
    def _nodes(self) -> Tensor:
        u = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
        return torch.stack([curve(u) for curve in self._curves])


def spiral(noise: float = 0.3, turns: float = 1.5) -> NoisyCurves:
    """An Archimedean spiral that starts half a turn out, drawn at even speed along its arc."""
    start, end = math.pi, math.pi + 2 * math.pi * turns

    def curve(u: Tensor) -> Tensor:
        angle = (start**2 + u * (end**2 - start**2)).sqrt()
        return angle.unsqueeze(-1) * torch.stack((angle.cos(), angle.sin()), -1)

    return NoisyCurves("spiral", (curve,), noise, centre=(0.0, 0.0), extent=(end + 6 * noise, end + 6 * noise))


def moons(noise: float = 0.08) -> NoisyCurves:
    """Two interleaved half circles."""

    def upper(u: Tensor) -> Tensor:
        return torch.stack(((math.pi * u).cos(), (math.pi * u).sin()), -1)

    def lower(u: Tensor) -> Tensor:
        return torch.stack((1 - (math.pi * u).cos(), 0.5 - (math.pi * u).sin()), -1)

    return NoisyCurves(
        "two moons", (upper, lower), noise, centre=(0.5, 0.25), extent=(1.5 + 6 * noise, 0.75 + 6 * noise)
    )
