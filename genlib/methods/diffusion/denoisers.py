"""Denoisers: modules that predict the noise in x = x₀ + σε.

Both kinds answer `denoiser(x, sigma, y)` with the predicted noise ε̂, which is at once the velocity dx/dσ of the
probability flow; the predicted clean point is x − σε̂. They differ in what the network inside has to learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from genlib.methods.guidance import Settled
from genlib.nets.mlp import joined
from genlib.nets.text_encoder import TextEncoder

EDGES = ("net.stem.", "net.places", "net.level.", "net.whole.", "net.out.", "text.tokens.", "text.places", "text.first")
"""Parameters of an image denoiser by which something enters the net or leaves it."""
NoisePredictor = Settled
"""(x (n, …), σ () or (n,)) → ε̂ (n, …): a denoiser whose class and guidance are settled."""


def each(value: Float[Tensor, ""] | Float[Tensor, " n"], x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """A number, or one for every row, in a shape that multiplies rows of x."""
    return value.expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))


def preconditioned(
    network: Callable[[Tensor, Tensor], Tensor],
    x: Float[Tensor, "n ..."],
    sigma: Float[Tensor, ""] | Float[Tensor, " n"],
    *,
    data_std: float,
) -> Float[Tensor, "n ..."]:
    """The noise by EDM's preconditioning (Karras et al., 2022, Table 1): the network sees and predicts unit variance.

    With data of variance s² along each axis: x̂₀ = s²/(s²+σ²)·x + σs/√(s²+σ²)·net(x/√(s²+σ²), ln σ / 4). Written for the
    noise, ε̂ = σ/(s²+σ²)·x − s/√(s²+σ²)·net(…), nothing cancels at small σ.

    Arguments:
        network: answers (scaled x, ln σ / 4), the latter in a shape that multiplies rows of x.
    """
    sigma = each(sigma, x)
    total = sigma * sigma + data_std**2
    scale = total.rsqrt()
    return sigma / total * x - data_std * scale * network(x * scale, sigma.log() / 4)


class PlainDenoiser(nn.Module):
    """ε̂ = net(x, t[, class]): the network predicts the noise itself, as in DDPM.

    Time is ln σ, scaled to [0, 1] between the schedule's ends; for σ = exp(k(t−1)) that is t. Under a
    variance-preserving schedule the network sees the point in that schedule's coordinates, x/√(1+σ²).
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        lowest: float,
        highest: float,
        preserving: bool = False,
        labels: nn.Module | None = None,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.net, self.labels, self.features = net, labels, features
        self._preserving = preserving
        self._log_lowest, self._log_span = math.log(lowest), math.log(highest / lowest)

    def forward(
        self,
        x: Float[Tensor, "n d"],
        sigma: Float[Tensor, ""] | Float[Tensor, " n"],
        y: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n d"]:
        time = sigma.log().sub_(self._log_lowest).div_(self._log_span).expand(x.shape[0]).unsqueeze(1)
        if self._preserving:
            x = x * (1 + sigma * sigma).rsqrt().expand(x.shape[0]).unsqueeze(1)
        return self.net(joined(x, time, y, features=self.features, labels=self.labels))


class PreconditionedDenoiser(nn.Module):
    """A denoiser of points: a perceptron in EDM's preconditioning (see `preconditioned`)."""

    def __init__(
        self, net: nn.Module, *, data_std: float, labels: nn.Module | None = None, features: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.net, self.labels, self.features = net, labels, features
        self._data_std = data_std

    def forward(
        self,
        x: Float[Tensor, "n d"],
        sigma: Float[Tensor, ""] | Float[Tensor, " n"],
        y: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n d"]:
        def network(seen: Tensor, level: Tensor) -> Tensor:
            return self.net(joined(seen, level, y, features=self.features, labels=self.labels))

        return preconditioned(network, x, sigma, data_std=self._data_std)


class ImageDenoiser(nn.Module):
    """A denoiser of images that reads a prompt, in EDM's preconditioning.

    Arguments:
        net: answers (images, level, read prompt).
        text: reads prompts.
        data_std: standard deviation of the pixels.
    """

    def __init__(self, net: nn.Module, text: TextEncoder, *, data_std: float = 1.0) -> None:
        super().__init__()
        self.net, self.text = net, text
        self._data_std = data_std

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Kernels and matrices inside the net and the text encoder."""
        return [p for name, p in self.named_parameters() if p.ndim > 1 and not name.startswith(EDGES)]

    def forward(
        self,
        x: Float[Tensor, "n c h w"],
        sigma: Float[Tensor, ""] | Float[Tensor, " n"],
        y: Int[Tensor, "n s"],
    ) -> Float[Tensor, "n c h w"]:
        read = self.text(y)
        return preconditioned(
            lambda seen, level: self.net(seen, level.flatten(), read), x, sigma, data_std=self._data_std
        )
