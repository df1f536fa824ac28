"""The denoising loss."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.methods.diffusion.denoisers import each

Weighting = Literal["noise", "edm"]


def denoising_loss(
    predicted: Float[Tensor, "n ..."],
    noise: Float[Tensor, "n ..."],
    sigma: Float[Tensor, " n"],
    *,
    weighting: Weighting = "noise",
    data_std: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean squared error of the predicted noise, over coordinates too.

    `edm` multiplies it by 1 + σ²/s²: the plain squared error of the network inside a `PreconditionedDenoiser`.
    """
    if weighting == "noise":
        return torch.nn.functional.mse_loss(predicted, noise)
    weight = 1 + (each(sigma, predicted) / data_std).square()
    return ((predicted - noise).square() * weight).mean()
