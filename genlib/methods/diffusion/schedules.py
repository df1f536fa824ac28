"""Noise schedules: σ(t), the noise-to-signal ratio at time t ∈ [0, 1].

All of diffusion here is written in variance-exploding coordinates, x_σ = x₀ + σε. A variance-preserving schedule with
signal √ᾱ and noise √(1−ᾱ) is the same process seen through a scale: divide by √ᾱ and σ = √(1−ᾱ)/√ᾱ. So one set of
samplers and likelihoods serves every schedule; `signal` gives √ᾱ back where a figure wants the report's coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.errors import InputError

ScheduleName = Literal["exp3", "exp5", "exp10", "linear", "cosine", "geometric", "edm"]


class Schedule:
    """σ as an increasing function of t."""

    preserving: bool = False
    """Whether the schedule's own coordinates keep the variance (the signal shrinks) or let it explode."""

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Noise over signal at time t."""
        raise NotImplementedError

    def signal(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """How much of x₀ is left where the noise-to-signal ratio is σ, in the schedule's own coordinates."""
        return (1 + sigma * sigma).rsqrt() if self.preserving else torch.ones_like(sigma)

    def sigmas(self, steps: int) -> Float[Tensor, " {steps}+1"]:
        """The sampler's grid: σ at t = 1, …, 0 in equal steps of t."""
        if steps < 1:
            raise InputError(f"sampling steps: got {steps}; allowed is an integer of at least 1.")
        return self.sigma(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).float()

    @property
    def lowest(self) -> float:
        """σ(0), the lowest noise level."""
        return self._at(0.0)

    @property
    def highest(self) -> float:
        """σ(1), the highest noise level."""
        return self._at(1.0)

    def _at(self, t: float) -> float:
        with torch.device("cpu"):  # a number is wanted, whatever the default device
            return float(self.sigma(torch.tensor(t, dtype=torch.float64)))


@dataclass(frozen=True)
class Exponential(Schedule):
    """σ(t) = exp(k(t − 1)), the reports' own."""

    rate: float

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return (self.rate * (t - 1)).exp()


@dataclass(frozen=True)
class Geometric(Schedule):
    """σ(t) = σ_min (σ_max/σ_min)^t: equal steps of ln σ between free ends."""

    lowest_sigma: float = 3e-3
    highest_sigma: float = 4.0

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.lowest_sigma * (t * math.log(self.highest_sigma / self.lowest_sigma)).exp()


@dataclass(frozen=True)
class Karras(Schedule):
    """σ(t) = (σ_min^{1/ρ} + t (σ_max^{1/ρ} − σ_min^{1/ρ}))^ρ. Karras et al., *Elucidating the design space*, 2022."""

    lowest_sigma: float = 2e-3
    highest_sigma: float = 80.0
    rho: float = 7.0

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        low, high = self.lowest_sigma ** (1 / self.rho), self.highest_sigma ** (1 / self.rho)
        return (low + t * (high - low)) ** self.rho


@dataclass(frozen=True)
class LinearBeta(Schedule):
    """DDPM with β rising linearly, as a diffusion in continuous time: ln ᾱ(t) = −t β₀ − t² (β₁ − β₀)/2.

    β₀ and β₁ are the usual 10⁻⁴ and .02 of a thousand steps, times a thousand.
    """

    lowest_beta: float = 0.1
    highest_beta: float = 20.0
    first: float = 1e-3
    """Time that t = 0 stands for, the first of the thousand steps: at zero itself there is no noise to predict."""
    preserving = True

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        t = self.first + (1 - self.first) * t
        return torch.expm1(t * self.lowest_beta + 0.5 * t * t * (self.highest_beta - self.lowest_beta)).sqrt()


@dataclass(frozen=True)
class Cosine(Schedule):
    """ᾱ(t) = cos²(½π (t + s)/(1 + s)), so σ is the tangent. Nichol & Dhariwal, *Improved DDPM*, 2021.

    The last step stops short of ᾱ = 0, as Nichol and Dhariwal's does by clipping β at .999.
    """

    offset: float = 0.008
    last: float = 0.99
    preserving = True

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return (0.5 * math.pi * (self.last * t + self.offset) / (1 + self.offset)).tan()


@dataclass(frozen=True)
class DiscreteLinear(Schedule):
    """DDPM with `steps` discrete steps, β rising linearly; t = 0 is the first step and t = 1 the last.

    Between the steps ln σ is interpolated, so that samplers with other step counts and likelihoods work too.
    """

    steps: int = 40
    lowest_beta: float = 1e-4
    highest_beta: float = 0.3
    preserving = True

    def table(self) -> Float[Tensor, " steps"]:
        """σ after 1, 2, … steps."""
        betas = torch.linspace(self.lowest_beta, self.highest_beta, self.steps, dtype=torch.float64)
        return torch.expm1(-torch.log1p(-betas).cumsum(0)).sqrt()

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        log_sigma = self.table().log().to(t)
        place = t * (self.steps - 1)
        left = place.floor().clamp(0, self.steps - 2).long()
        return torch.lerp(log_sigma[left], log_sigma[left + 1], place - left).exp()


SCHEDULES: dict[ScheduleName, Schedule] = {
    "exp3": Exponential(3.0),
    "exp5": Exponential(5.0),
    "exp10": Exponential(10.0),
    "linear": LinearBeta(),
    "cosine": Cosine(),
    "geometric": Geometric(),
    "edm": Karras(),
}
