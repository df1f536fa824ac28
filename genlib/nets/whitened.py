"""A small convolutional net whose first layer whitens patches of 2 × 2 pixels: fast on one thread.

Its shape is that of airbench's networks (Jordan, 2024, https://arxiv.org/abs/2404.00498).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.nets.batch_norm import BatchNorm


class WhitenedNet(nn.Module):
    """Images in [0, 1] → features.

    Each stage is a convolution, a pooling by two, another convolution; both are normalised and go through a GELU.

    Arguments:
        widths: channels of the stages.
        pooled: height and width of the last map that features are read from; 1 takes its mean.

    Example:
        >>> WhitenedNet(widths=(8, 16, 16))(torch.zeros(2, 3, 24, 24)).shape
        torch.Size([2, 16])
    """

    whitening: Tensor

    def __init__(self, *, widths: Sequence[int] = (32, 128, 128), pooled: int = 1) -> None:
        super().__init__()
        self.pooled = pooled
        self.outputs = widths[-1] * pooled**2
        self.register_buffer("whitening", torch.randn(24, 3, 2, 2))
        self.shift = nn.Parameter(torch.zeros(24))
        layers: list[nn.Module] = [nn.GELU()]
        inputs = 24
        for outputs in widths:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [BatchNorm(outputs, scale=False), nn.GELU()]
            layers += [
                nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                BatchNorm(outputs, scale=False),
                nn.GELU(),
            ]
            inputs = outputs
        self.layers = nn.Sequential(*layers)

    @torch.no_grad()
    def fit_whitening(self, x: Float[Tensor, "n 3 h w"], *, eps: float = 5e-4) -> None:
        """Let the first layer whiten the patches of some images: their principal parts, each at unit variance, twice,
        with both signs.
        """
        patches = functional.unfold(x, 2).transpose(1, 2).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        weight = (vectors / (values + eps).sqrt()).T.reshape(12, 3, 2, 2)
        self.whitening.copy_(torch.cat((weight, -weight)))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        y = self.layers(functional.conv2d(x, self.whitening, self.shift))
        return functional.adaptive_avg_pool2d(y, self.pooled).flatten(1)
