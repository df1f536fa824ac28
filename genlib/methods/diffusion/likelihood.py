"""How likely a denoiser finds given points: the exact log-likelihood and the variational bound."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.draws import Draws
from genlib.methods.diffusion.denoisers import NoisePredictor
from genlib.methods.diffusion.start import Start
from genlib.methods.ode import Solver, integrate_with_log_det


def log_prob(
    noise: NoisePredictor,
    x: Float[Tensor, "n d"],
    *,
    lowest: float,
    highest: float,
    start: Start,
    steps: int = 50,
    solver: Solver = "rk4",
) -> Float[Tensor, " n"]:
    """Exact log-density of the probability-flow model, at the data, by the change of variables along dx/dσ = ε̂.

    Integrated in u = ln σ, where dx/du = σε̂, from σ_min (taken as the data's own noise level, no final denoising) to
    σ_max, where the density is the start's. Song et al., *Score-based generative modeling through SDEs*, 2021.
    """
    times = torch.linspace(math.log(lowest), math.log(highest), steps + 1, dtype=x.dtype, device=x.device)
    z, log_det = integrate_with_log_det(lambda points, u: u.exp() * noise(points, u.exp()), x, times, solver)
    return start.log_prob(z) + log_det


class Bound(NamedTuple):
    """The variational bound of each point: −ln p(x) ≤ `total` = denoising + reconstruction + prior, in nats."""

    total: Float[Tensor, " n"]
    error: Float[Tensor, " n"]
    """Standard error of `total` from the finite number of draws."""
    denoising: Float[Tensor, " n"]
    reconstruction: float
    prior: Float[Tensor, " n"]


@torch.no_grad()
def variational_bound(
    noise: NoisePredictor,
    x: Float[Tensor, "n d"],
    draws: Draws,
    *,
    lowest: float,
    highest: float,
    start: Start,
    samples: int = 1_000,
) -> Bound:
    """The bound with all its terms, in continuous time (Kingma et al., *Variational diffusion models*, 2021).

    denoising: ½ ∫ ‖x − x̂₀‖² d(1/σ²) = ∫ ‖ε − ε̂‖² d ln σ, from `samples` draws of (ln σ uniform, ε) per point;
    reconstruction: E[−ln N(x; x + σ_min ε, σ_min²)]; prior: KL(N(x, σ_max²) ‖ start).
    The denoising term is the same for every schedule with the same ends.
    """
    dimensions = x.shape[1]
    span = math.log(highest / lowest)
    rows = []
    for k, point in enumerate(x):  # one point at a time: bounds the memory, and the draws of a point are its own
        stream = draws.fork(str(k))
        # Stratified ln σ: one draw in each of `samples` equal cells.
        cells = (torch.arange(samples, device=x.device) + stream.uniform(samples)) / samples
        sigma = lowest * (span * cells).exp()
        epsilon = stream.normal(samples, dimensions)
        predicted = noise(point + sigma.unsqueeze(1) * epsilon, sigma)
        rows.append((epsilon - predicted).square().sum(1) * span)
    errors = torch.stack(rows)  # (n, samples)
    denoising = errors.mean(1)
    reconstruction = dimensions / 2 * (1 + math.log(2 * math.pi) + 2 * math.log(lowest))
    prior = start.divergence_from(x, highest)
    # Neighbouring cells differ little in their mean: their differences give the error of a stratified average.
    spread = (errors[:, 1:] - errors[:, :-1]).square().mean(1) / 2
    return Bound(denoising + reconstruction + prior, (spread / samples).sqrt(), denoising, reconstruction, prior)
