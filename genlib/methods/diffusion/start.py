"""Where sampling starts, which is also where the likelihood ends: a normal distribution, axis by axis.

At the end of the forward process x = x₀ + σε has the data's mean and the variance Var(x₀) + σ². `matched` starts from
that (from the class's own where there are classes); `standard` from N(0, σ²), as the reports do: too narrow unless σ
is large, and biased even for a perfect denoiser.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.methods import normal

StartName = Literal["matched", "standard"]


class Start(NamedTuple):
    """N(mean, std²) along each axis, the same for all points or one for each."""

    mean: Float[Tensor, "*n d"]
    std: Float[Tensor, "*n d"]

    def place(self, noise: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Standard normal numbers → starting points."""
        return self.mean + self.std * noise

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The log-density of starting points."""
        return normal.log_prob((x - self.mean) / self.std) - self.std.log().sum(-1)

    def divergence_from(self, x: Float[Tensor, "n d"], sigma: float) -> Float[Tensor, " n"]:
        """KL(N(x, σ²) ‖ start), of each point."""
        variance = self.std.square()
        ratio = sigma**2 / variance
        return 0.5 * (ratio - 1 - ratio.log() + (x - self.mean).square() / variance).sum(1)


def start_at(
    sigma: float, mean: Float[Tensor, "*n d"], variance: Float[Tensor, "*n d"], *, start: StartName = "matched"
) -> Start:
    """The start at noise level σ for data of known mean and variance.

    Example:
        >>> start_at(1.0, torch.zeros(2), torch.full((2,), 1 / 3)).std
        tensor([1.1547, 1.1547])
    """
    if start == "standard":
        return Start(torch.zeros_like(mean), torch.full_like(variance, sigma))
    return Start(mean, (variance + sigma**2).sqrt())
