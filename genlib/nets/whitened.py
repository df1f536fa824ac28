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
    """Images in [0, 1] → features, the mean over the last maps.

    Each stage is two convolutions, both normalised and rectified; all but the last halve height and width by pooling,
    so that the last ones see more than a single pixel even of small views.

    Arguments:
        widths: channels of the stages.

    Example:
        >>> WhitenedNet(widths=(8, 16, 16))(torch.zeros(2, 3, 24, 24)).shape
        torch.Size([2, 16])
    """

    whitening: Tensor

    def __init__(self, *, widths: Sequence[int] = (32, 128, 128)) -> None:
        super().__init__()
        self.outputs = widths[-1]
        self.register_buffer("whitening", torch.randn(24, 3, 2, 2))
        self.shift = nn.Parameter(torch.zeros(24))
        layers: list[nn.Module] = [nn.ReLU()]
        inputs = 24
        for stage, outputs in enumerate(widths):
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
            if stage < len(widths) - 1:
                layers.append(nn.MaxPool2d(2))
            layers += [BatchNorm(outputs, scale=False), nn.ReLU()]
            layers += [
                nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                BatchNorm(outputs, scale=False),
                nn.ReLU(),
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

    def maps(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d i j"]:
        """The last stage's maps."""
        return self.layers(functional.conv2d(x, self.whitening, self.shift))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return self.maps(x).mean((2, 3))
