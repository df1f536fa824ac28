"""A small transformer that reads a prompt in both directions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from genlib.nets.attention import Block


class Read(NamedTuple):
    """A prompt as a net reads it: features of its words, which of them are there, and of the prompt as a whole."""

    words: Float[Tensor, "n s v"]
    present: Bool[Tensor, "n s"]
    whole: Float[Tensor, "n v"]


class TextEncoder(nn.Module):
    """Tokens → features of every word. A place before the first word is always there, so that a prompt may be empty.

    Arguments:
        vocabulary: number of tokens; token 0 stands for no word.
        length: number of places.
        width: features of a word.
        layers: number of blocks.

    Example:
        >>> TextEncoder(20, length=4, width=8, layers=1)(torch.tensor([[3, 5, 0, 0]])).words.shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, vocabulary: int, *, length: int, width: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(length + 1, width))
        self.first = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, heads=heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Int64[Tensor, "n s"]) -> Read:
        first = self.first.expand(len(tokens), 1, -1)
        x = torch.cat((first, self.tokens(tokens)), 1) + self.places
        present = torch.cat((torch.ones_like(tokens[:, :1], dtype=torch.bool), tokens != 0), 1)
        for block in self.blocks:
            x = block(x, None, present)
        x = self.norm(x)
        there = present.unsqueeze(2).to(x.dtype)
        return Read(x, present, (x * there).sum(1) / there.sum(1))  # a mean hears every word from the first update on
