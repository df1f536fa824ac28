"""A transformer of an image's patches, which is told a level of noise and reads a text."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.nets.attention import Block, frequencies
from genlib.nets.initial import begin_faintly
from genlib.nets.text_encoder import Read

LEVELS = 8
"""Number of frequencies that a level of noise is told in."""


class PatchTransformer(nn.Module):
    """Noisy images → what is predicted of them. Every block reads the text; its perceptron is told the level.

    Arguments:
        channels, size: of the images; `size` is a multiple of `patch`.
        patch: height and width of the patches.
        width: features of a patch.
        layers: number of blocks.
        text: features of a word.
        positions: whether places are learnt and added to the patches. Without them patches do not know where they are.

    Example:
        >>> from genlib.nets.text_encoder import TextEncoder
        >>> read = TextEncoder(9, length=4, width=16, layers=1)(torch.zeros(2, 4, dtype=torch.long))
        >>> net = PatchTransformer(3, 28, patch=4, width=16, layers=1, text=16)
        >>> net(torch.zeros(2, 3, 28, 28), torch.zeros(2), read).shape
        torch.Size([2, 3, 28, 28])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        patch: int,
        width: int,
        layers: int,
        text: int,
        positions: bool = True,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.patch, self.side = patch, size // patch
        self.stem = nn.Linear(channels * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn(self.side**2, width)) if positions else None
        self.level = nn.Linear(2 * LEVELS, width)
        self.whole = nn.Linear(text, width)
        self.tell = nn.Linear(width, 2 * width * layers)
        begin_faintly(self.tell)
        self.blocks = nn.ModuleList(Block(width, heads=heads, text=text) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, channels * patch**2)
        begin_faintly(self.out)

    def forward(self, x: Float[Tensor, "n c h w"], level: Float[Tensor, " n"], read: Read) -> Float[Tensor, "n c h w"]:
        patches = self.stem(functional.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2))
        patches = patches if self.places is None else patches + self.places
        told = self.tell(functional.silu(self.level(frequencies(level, LEVELS)) + self.whole(read.whole)))
        for block, part in zip(self.blocks, told.chunk(len(self.blocks), 1), strict=True):
            scale, shift = part.chunk(2, 1)
            patches = block(patches, read.words, read.present, (scale, shift))
        maps = self.out(self.norm(patches)).transpose(1, 2).unflatten(2, (self.side, self.side))
        return functional.pixel_shuffle(maps, self.patch)
