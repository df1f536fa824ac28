"""A small convolutional classifier of images of 28 × 28."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

CHUNK = 1_000


class Classifier(nn.Module):
    """Images → logits of the classes. Only the brightest channel is read, so ink of any colour is the same to it.

    Arguments:
        kinds: number of classes.

    Example:
        >>> Classifier().classes(torch.zeros(3, 3, 28, 28)).shape
        torch.Size([3])
    """

    def __init__(self, kinds: int = 10) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 64),
            nn.ReLU(),
            nn.Linear(64, kinds),
        )

    def forward(self, x: Float[Tensor, "n c 28 28"]) -> Float[Tensor, "n k"]:
        """Logits, from the brightest channel."""
        return self.net(x.amax(1, keepdim=True))

    @torch.no_grad()
    def features(self, x: Float[Tensor, "n c 28 28"]) -> Float[Tensor, "n 64"]:
        """What the logits are made of: the last layer but one."""
        return torch.cat([self.net[:-1](chunk.amax(1, keepdim=True)) for chunk in torch.split(x, CHUNK)])

    @torch.no_grad()
    def probabilities(self, x: Float[Tensor, "n c 28 28"]) -> Float[Tensor, "n k"]:
        """The probability of every class."""
        return torch.cat([self(chunk).softmax(1) for chunk in torch.split(x, CHUNK)])

    def classes(self, x: Float[Tensor, "n c 28 28"]) -> Int64[Tensor, " n"]:
        """The most probable class of every image."""
        return self.probabilities(x).argmax(1)
