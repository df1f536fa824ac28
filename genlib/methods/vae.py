"""Variational autoencoders with continuous codes, discrete codes, or both. Kingma & Welling, 2014; Dupont, 2018.

A code is a normal vector z, N(0, I) a priori, and `variables` categorical variables of `categories` values each,
uniform a priori. The encoder gives both from one trunk; the decoder takes both in one row. Images are (n, c, h, w) in
[0, 1], and p(x | code) is Bernoulli in every pixel: a likelihood for binary images, for others only a loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from genlib.draws import Draws
from genlib.methods import normal
from genlib.methods.gumbel import gumbel


class Posterior(NamedTuple):
    """What the encoder says of each image: N(mean, exp(log_variance)) and the logits of its categories."""

    mean: Float[Tensor, "n d"]
    log_variance: Float[Tensor, "n d"]
    logits: Float[Tensor, "n v k"]

    @property
    def middle(self) -> tuple[Tensor, Tensor]:
        """The most probable code."""
        return self.mean, one_hot(self.logits.argmax(-1), self.logits.shape[-1])


class VAE(nn.Module):
    """Encoder and decoder, perceptrons that mirror each other.

    Arguments:
        shape: channels, height and width of an image.
        hidden: widths of the hidden layers, from the image inwards.
        continuous: dimensions of z.
        variables, categories: number of variables of the discrete code, and of values of each.

    Example:
        >>> model = VAE((3, 28, 28), continuous=2, variables=20, categories=10)
        >>> model(torch.zeros(4, 3, 28, 28)).shape
        torch.Size([4, 3, 28, 28])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        hidden: Sequence[int] = (512, 256),
        continuous: int = 0,
        variables: int = 0,
        categories: int = 1,
    ) -> None:
        super().__init__()
        self.shape, self.continuous, self.variables, self.categories = shape, continuous, variables, categories
        pixels, code = math.prod(shape), variables * categories
        self.encoder = _perceptron(pixels, *hidden, 2 * continuous + code)
        self.decoder = _perceptron(continuous + code, *reversed(hidden), pixels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The reconstruction, from the middle of the posterior."""
        return self.decode(*self.encode(x).middle).sigmoid()

    def encode(self, x: Float[Tensor, "n c h w"]) -> Posterior:
        """The posterior of every image."""
        sizes = [self.continuous, self.continuous, self.variables * self.categories]
        mean, log_variance, logits = torch.split(self.encoder(x.flatten(1)), sizes, 1)
        return Posterior(mean, log_variance, logits.reshape(x.shape[0], self.variables, self.categories))

    def decode(self, z: Float[Tensor, "n d"], c: Float[Tensor, "n v k"]) -> Float[Tensor, "n c h w"]:
        """Logits of the pixels."""
        return self.decoder(torch.cat((z, c.flatten(1)), 1)).reshape(z.shape[0], *self.shape)


def _perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def one_hot(chosen: Int[Tensor, "n v"], categories: int) -> Float[Tensor, "n v k"]:
    """Categories as the decoder takes them: one-hot."""
    return functional.one_hot(chosen, categories).float()


def continuous_kl(mean: Float[Tensor, "n d"], log_variance: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """KL(N(mean, variance) ‖ N(0, I)), in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def discrete_kl(logits: Float[Tensor, "n v k"]) -> Float[Tensor, " n"]:
    """KL(categorical ‖ uniform), in nats: never more than v·ln k.

    Example:
        >>> round(float(discrete_kl(torch.tensor([[[1e9, 0.0, 0.0, 0.0]]]))), 4)  # ln 4
        1.3863
    """
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum((1, 2)) + logits.shape[1] * math.log(logits.shape[2])


def relaxed(
    logits: Float[Tensor, "n v k"], uniform: Float[Tensor, "n v k"], temperature: float
) -> Float[Tensor, "n v k"]:
    """Gumbel-softmax: a draw that gradients pass through, near one-hot at low temperatures. Jang et al., 2017.

    Arguments:
        uniform: uniform numbers in [0, 1).
    """
    return ((logits + gumbel(uniform)) / temperature).softmax(-1)


def drawn(logits: Float[Tensor, "n v k"], uniform: Float[Tensor, "n v k"]) -> Int[Tensor, "n v"]:
    """Whole categories, as probable as the logits say."""
    return (logits + gumbel(uniform)).argmax(-1)


def temperature(step: int, *, least: float, rate: float) -> float:
    """Temperature of relaxed draws, from 1 downwards: max(least, exp(−rate·step)).

    Example:
        >>> temperature(0, least=0.5, rate=3e-4), temperature(10**6, least=0.5, rate=3e-4)
        (1.0, 0.5)
    """
    return max(least, math.exp(-rate * step))


def pixel_loss(x: Float[Tensor, "n c h w"], logits: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """−ln p(x | code) of Bernoulli pixels, in nats."""
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))


@torch.no_grad()
def log_likelihood(model: VAE, x: Float[Tensor, "n c h w"], draws: Draws, *, samples: int = 200) -> Float[Tensor, " n"]:
    """A lower estimate of ln p(x) by importance sampling from the posterior; codes are drawn whole, without relaxation.

    ln 1/S Σ p(x | code) p(code) / q(code | x): the more samples, the closer. Burda et al., 2016.
    """
    posterior = model.encode(x)
    std = (0.5 * posterior.log_variance).exp()
    log_q = posterior.logits.log_softmax(-1)
    log_ratios = []
    for k in range(samples):
        stream = draws.fork(str(k))
        noise = stream.normal(*posterior.mean.shape)
        z = posterior.mean + std * noise
        ratio = normal.log_prob(z) - normal.log_prob(noise) + std.log().sum(1)
        chosen = drawn(log_q, stream.uniform(*log_q.shape))
        ratio = ratio - log_q.gather(-1, chosen.unsqueeze(-1)).sum((1, 2))
        log_ratios.append(ratio - pixel_loss(x, model.decode(z, one_hot(chosen, model.categories))))
    prior = model.variables * math.log(model.categories)
    return torch.stack(log_ratios).logsumexp(0) - math.log(samples) - prior
