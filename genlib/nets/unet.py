"""A small U-Net of patches of an image, which is told a level of noise and reads a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.nets.attention import Attention, frequencies
from genlib.nets.initial import begin_faintly
from genlib.nets.text_encoder import Read

LEVELS = 8
"""Number of frequencies that a level of noise is told in."""
GROUP = 8
"""Number of channels that are normalised together."""


class Residual(nn.Module):
    """Two convolutions, each normalised before; the second is scaled and shifted by what is told."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList((nn.GroupNorm(inputs // GROUP, inputs), nn.GroupNorm(outputs // GROUP, outputs)))
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.tell = nn.Linear(told, 2 * outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        begin_faintly(self.second)
        self.past = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"], told: Float[Tensor, "n t"]) -> Float[Tensor, "n d h w"]:
        h = self.first(functional.silu(self.norms[0](x)))
        scale, shift = self.tell(told)[:, :, None, None].chunk(2, 1)
        return self.past(x) + self.second(functional.silu(torch.addcmul(shift, self.norms[1](h), 1 + scale)))


def enlarged(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 2*h 2*w"]:
    """Every pixel as four."""
    return functional.interpolate(x, scale_factor=2.0)


class UNet(nn.Module):
    """Noisy images → what is predicted of them. The lowest level attends, to itself and to the text.

    Arguments:
        channels, size: of the images; `size` is a multiple of `patch` times 2 for every width but the first.
        patch: height and width of the patches whose pixels become channels.
        widths: channels of the levels, multiples of eight; each but the first has half the height and width.
        blocks: residual blocks of each level, on the way down and on the way up.
        text: features of a word.
        positions: whether places are learnt and added to the patches.
        lean: whether what is kept on the way down is added on the way up instead of put beside it, block to block. That
            leaves out two fifths of the arithmetic.

    Example:
        >>> from genlib.nets.text_encoder import TextEncoder
        >>> read = TextEncoder(9, length=4, width=16, layers=1)(torch.zeros(2, 4, dtype=torch.long))
        >>> net = UNet(3, 28, patch=2, widths=(8, 16), blocks=1, text=16)
        >>> net(torch.zeros(2, 3, 28, 28), torch.zeros(2), read).shape
        torch.Size([2, 3, 28, 28])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        patch: int,
        widths: Sequence[int],
        blocks: int,
        text: int,
        positions: bool = True,
        lean: bool = False,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.patch, self.lean = patch, lean
        told = 4 * widths[0]
        self.level = nn.Linear(2 * LEVELS, told)
        self.whole = nn.Linear(text, told)
        self.tell = nn.Linear(told, told)
        self.stem = nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)
        side = size // patch
        self.places = nn.Parameter(0.02 * torch.randn(widths[0], side, side)) if positions else None
        self.down, self.up, self.shrink, self.grow = (nn.ModuleList() for _ in range(4))
        kept = [] if lean else [widths[0]]
        width = widths[0]
        for level, outputs in enumerate(widths):
            if level:
                self.shrink.append(nn.Conv2d(width, outputs, 3, stride=2, padding=1))
                width = outputs
                kept += [] if lean else [width]
            self.down.append(nn.ModuleList(Residual(width, width, told) for _ in range(blocks)))
            kept += [width] * blocks
        self.middle = Residual(width, width, told)
        self.attention = Attention(width, heads=heads)
        self.reading = Attention(width, heads=heads, text=text)
        for level, outputs in reversed(list(enumerate(widths))):
            parts = []
            for _ in range(blocks if lean else blocks + 1):
                beside = 0 if lean else kept.pop()
                parts.append(Residual(width + beside, outputs, told))
                width = outputs
            self.up.append(nn.ModuleList(parts))
            if level:
                self.grow.append(nn.Conv2d(width, widths[level - 1], 1 if lean else 3, padding=0 if lean else 1))
                width = widths[level - 1]
        self.norm = nn.GroupNorm(width // GROUP, width)
        self.out = nn.Conv2d(width, channels * patch**2, 3, padding=1)
        begin_faintly(self.out)

    def forward(self, x: Float[Tensor, "n c h w"], level: Float[Tensor, " n"], read: Read) -> Float[Tensor, "n c h w"]:
        told = functional.silu(self.level(frequencies(level, LEVELS)) + self.whole(read.whole))
        told = functional.silu(self.tell(told))
        x = self.stem(functional.pixel_unshuffle(x, self.patch))
        x = x if self.places is None else x + self.places
        kept = [] if self.lean else [x]
        for depth, blocks in enumerate(self.down):
            if depth:
                x = self.shrink[depth - 1](x)
                kept += [] if self.lean else [x]
            for block in cast(Iterable[Residual], blocks):
                x = block(x, told)
                kept.append(x)
        x = self._attended(self.middle(x, told), read)
        for depth, blocks in enumerate(self.up):
            for block in cast(Iterable[Residual], blocks):
                x = block(x + kept.pop() if self.lean else torch.cat((x, kept.pop()), 1), told)
            if depth < len(self.grow):  # a kernel of one pixel may come first, where there are fewer
                grow = self.grow[depth]
                x = enlarged(grow(x)) if self.lean else grow(enlarged(x))
        return functional.pixel_shuffle(self.out(functional.silu(self.norm(x))), self.patch)

    def _attended(self, x: Float[Tensor, "n c h w"], read: Read) -> Float[Tensor, "n c h w"]:
        n, c, h, w = x.shape
        places = x.flatten(2).transpose(1, 2)
        places = self.reading(self.attention(places), read.words, read.present)
        return places.transpose(1, 2).reshape(n, c, h, w)
