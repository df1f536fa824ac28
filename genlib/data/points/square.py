"""The uniform square [−1, 1]², with five classes by distance from the origin, and what is closed-form about it."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genlib.data.points.density import PointDensity, Points, uniform_log_prob
from genlib.draws import Draws


class Square(PointDensity):
    """Uniform on [−1, 1]². Not standardised: its variance is 1/3 along each axis.

    Class k holds the points at distances k·√2/5 to (k+1)·√2/5 from the origin; the last one is the corners only.
    """

    title = "square"
    classes = 5
    extent = (1.5, 1.5)

    def sample(self, n: int, draws: Draws) -> Points:
        x = draws.uniform(n, 2) * 2 - 1
        return Points(x, self.label(x))

    def label(self, x: Float[Tensor, "n 2"]) -> Int[Tensor, " n"]:
        """The class of each point by its distance from the origin; the outermost takes all that is further out."""
        rings = torch.linalg.vector_norm(x, dim=-1) * (self.classes / math.sqrt(2))
        return rings.long().clamp(max=self.classes - 1)

    def contains(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Bool[Tensor, " n"]:
        inside = (x.abs() <= 1).all(-1)
        return inside if y is None else inside & (self.label(x) == y)

    def log_prob(self, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        if y is None:
            return uniform_log_prob(self.contains(x), math.log(4), x)
        areas = torch.tensor(self.areas, dtype=x.dtype, device=x.device)
        return uniform_log_prob(self.contains(x, y), areas.log()[y], x)

    @cached_property
    def areas(self) -> tuple[float, ...]:
        """The area of each class's region."""
        discs = [_disc_in_square(k * math.sqrt(2) / self.classes) for k in range(self.classes + 1)]
        return tuple(outer - inner for inner, outer in zip(discs, discs[1:], strict=False))

    @cached_property
    def moments(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (0.0, 0.0), (1 / 3, 1 / 3)

    @cached_property
    def priors(self) -> tuple[float, ...]:
        return tuple(area / 4 for area in self.areas)

    @cached_property
    def entropy(self) -> float:
        return math.log(4)

    @cached_property
    def class_entropies(self) -> tuple[float, ...]:
        return tuple(math.log(area) for area in self.areas)


def posterior_mean(x: Float[Tensor, "n 2"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n 2"]:
    """E[x₀ | x₀ + σε = x] for x₀ uniform on the square: a normal at x, truncated to [−1, 1], along each axis.

    With a = (−1−x)/σ and b = (1−x)/σ the mean is x + σ·(φ(a) − φ(b)) / (Φ(b) − Φ(a)). Computed in float64 and on the
    side of the tail where the difference of Φ is accurate.
    """
    wide = x.double()
    s = sigma.double().reshape(-1, *[1] * (x.ndim - 1)) if sigma.ndim else sigma.double()
    side = torch.where(wide > 0, 1.0, -1.0)
    a, b = (-1 - side * wide) / s, (1 - side * wide) / s  # mirrored so that x ≥ 0: b is the near edge, |b| ≤ |a|
    log_mass = torch.special.log_ndtr(b) + torch.log1p(-(torch.special.log_ndtr(a) - torch.special.log_ndtr(b)).exp())
    log_phi_a, log_phi_b = (-0.5 * v * v - 0.5 * math.log(2 * math.pi) for v in (a, b))
    shift = s * ((log_phi_a - log_mass).exp() - (log_phi_b - log_mass).exp())
    return (wide + side * shift).clamp(-1, 1).to(x.dtype)


def noise_floor(sigmas: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """The smallest mean squared error, per coordinate, with which the noise can be predicted at each σ: Var(x₀|x_t)/σ².

    With y = x₀/σ the observation y + ε has a density f on the line, and by Tweedie's formula the unexplained share of
    the noise is 1 − E[(∂ ln f)²]: one quadrature per σ.
    """
    s = sigmas.double().unsqueeze(-1)
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    # Only the edges carry Fisher information: with u = (x − 1)/σ near an edge, integrate over both symmetric halves.
    u = torch.where(z < -1 / s, torch.nan, z)  # x ≥ 0, i.e. u ≥ −1/σ
    near, far = torch.special.log_ndtr(-u).exp(), torch.special.log_ndtr(-u - 2 / s).exp()
    f = ((near - far) / 2).clamp_min(1e-100)  # density of x
    phi = (-0.5 * u * u).exp() / math.sqrt(2 * math.pi)
    phi_far = (-0.5 * (u + 2 / s) ** 2).exp() / math.sqrt(2 * math.pi)
    slope = (phi_far - phi) / 2  # σ ∂f/∂x
    fisher = torch.nan_to_num(slope * slope / f).sum(-1) * (z[1] - z[0]) * 2 * s.squeeze(-1)  # two halves, dx = σ du
    return 1 - fisher


def _disc_in_square(radius: float) -> float:
    """The area that a disc around the origin shares with [−1, 1]²."""
    if radius <= 1:
        return math.pi * radius * radius
    if radius >= math.sqrt(2):
        return 4.0
    half = math.acos(1 / radius)
    return math.pi * radius * radius - 4 * (radius * radius * half - math.sqrt(radius * radius - 1))
