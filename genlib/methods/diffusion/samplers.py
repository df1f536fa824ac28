"""Samplers: one step each, from σ to a smaller σ′, all with one signature.

The probability flow is dx/dσ = ε̂(x, σ), the predicted noise. The deterministic samplers are steps of `methods/ode`
along it, in σ (DDIM is the Euler step, whatever the schedule) or in ln σ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.draws import Draws
from genlib.methods import ode
from genlib.methods.diffusion.denoisers import NoisePredictor

SamplerName = Literal["ddim", "ancestral", "heun", "dpm2"]
Step = Callable[[NoisePredictor, Tensor, Tensor, Tensor, Draws], Tensor]


def ddim(noise: NoisePredictor, x: Tensor, sigma: Tensor, lower: Tensor, draws: Draws) -> Tensor:
    """x + (σ′ − σ) ε̂. Song et al., *Denoising diffusion implicit models*, 2021. One evaluation."""
    return ode.step("euler", noise, x, sigma, lower - sigma)


def ancestral(noise: NoisePredictor, x: Tensor, sigma: Tensor, lower: Tensor, draws: Draws) -> Tensor:
    """DDPM's step, which forgets some noise and adds fresh noise in its place. One evaluation.

    The posterior q(x_σ′ | x_σ, x̂₀) has mean x̂₀ + (σ′²/σ²)(x − x̂₀) and variance σ′²(1 − σ′²/σ²).
    """
    kept = (lower / sigma) ** 2
    clean = x - sigma * noise(x, sigma)
    return clean + kept * (x - clean) + lower * (1 - kept).sqrt() * draws.normal(*x.shape)


def heun(noise: NoisePredictor, x: Tensor, sigma: Tensor, lower: Tensor, draws: Draws) -> Tensor:
    """The trapezoidal rule in σ, Karras et al.'s choice. Two evaluations."""
    return ode.step("heun", noise, x, sigma, lower - sigma)


def dpm2(noise: NoisePredictor, x: Tensor, sigma: Tensor, lower: Tensor, draws: Draws) -> Tensor:
    """DPM-Solver-2: the midpoint rule with the midpoint taken in ln σ. Lu et al., 2022. Two evaluations."""
    middle = (sigma * lower).sqrt()
    halfway = x + (middle - sigma) * noise(x, sigma)
    return x + (lower - sigma) * noise(halfway, middle)


def consistent(noise: NoisePredictor, x: Tensor, sigma: Tensor, lower: Tensor, draws: Draws) -> Tensor:
    """x̂₀ with fresh noise: the step of consistency models, whose x̂₀ is a sample. Song et al., 2023. One evaluation."""
    return x - sigma * noise(x, sigma) + lower * draws.normal(*x.shape)


SAMPLERS: dict[SamplerName, Step] = {"ddim": ddim, "ancestral": ancestral, "heun": heun, "dpm2": dpm2}


def reverse(
    noise: NoisePredictor, x: Float[Tensor, "n ..."], sigmas: Float[Tensor, " t"], draws: Draws, step: Step = ddim
) -> Iterator[Float[Tensor, "n ..."]]:
    """Yield x at every σ of a falling sequence, the given x first."""
    yield x
    for sigma, lower in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = step(noise, x, sigma, lower, draws)
        yield x


@torch.no_grad()
def sample(
    noise: NoisePredictor, x: Float[Tensor, "n ..."], sigmas: Float[Tensor, " t"], draws: Draws, step: Step = ddim
) -> Float[Tensor, "n ..."]:
    """The end of the reverse path from x, which is noise at the first σ.

    Example:
        >>> gaussian = lambda x, sigma: x * sigma / (1 + sigma**2)  # the noise in a standard normal's noisy version
        >>> x = sample(gaussian, 80.0 * torch.ones(1, 2), torch.linspace(80, 0, 801), Draws(0, "doc"))
        >>> x.shape
        torch.Size([1, 2])
    """
    (last,) = deque(reverse(noise, x, sigmas, draws, step), maxlen=1)
    return last


@torch.no_grad()
def path(
    noise: NoisePredictor, x: Float[Tensor, "n ..."], sigmas: Float[Tensor, " t"], draws: Draws, step: Step = ddim
) -> Float[Tensor, "t n ..."]:
    """The whole reverse path."""
    return torch.stack(list(reverse(noise, x, sigmas, draws, step)))
