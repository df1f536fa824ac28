"""Attention among positions, or from positions to a text, for nets that see everything at once."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.nets.initial import begin_faintly


class Attention(nn.Module):
    """Attention of several heads, added to what was there: of positions to each other, or to a text.

    Arguments:
        width: features of a position.
        heads: number of heads.
        text: features of a word, where words are read; None reads the other positions.

    Example:
        >>> Attention(8, heads=2)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, width: int, *, heads: int, text: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(text or width, 2 * width)
        self.out = nn.Linear(width, width)
        begin_faintly(self.out)

    def forward(
        self,
        x: Float[Tensor, "n t w"],
        text: Float[Tensor, "n s v"] | None = None,
        present: Bool[Tensor, "n s"] | None = None,
    ) -> Float[Tensor, "n t w"]:
        """Arguments:
        text: words to read in place of the other positions.
        present: words that are there; at least one of every row.
        """
        seen = self.norm(x)
        source = seen if text is None else text
        query = self._by_heads(self.query(seen))
        key, value = (self._by_heads(part) for part in self.key_value(source).chunk(2, -1))
        mask = None if present is None else present[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return x + self.out(mixed.transpose(1, 2).flatten(2))

    def _by_heads(self, x: Float[Tensor, "n t w"]) -> Float[Tensor, "n h t d"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention, to a text too where there is one, then a perceptron on each position.

    Arguments:
        width: features of a position.
        heads: number of heads.
        text: features of a word; None reads none.
    """

    def __init__(self, width: int, *, heads: int, text: int | None = None) -> None:
        super().__init__()
        self.attention = Attention(width, heads=heads)
        self.reading = None if text is None else Attention(width, heads=heads, text=text)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(
        self,
        x: Float[Tensor, "n t w"],
        text: Float[Tensor, "n s v"] | None = None,
        present: Bool[Tensor, "n s"] | None = None,
        shift: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "n t w"]:
        """Arguments:
        text, present: words to read, and which of them are there.
        shift: scale and shift of what the perceptron sees, (n, w) each.
        """
        x = self.attention(x, None, present if self.reading is None else None)
        if self.reading is not None:
            x = self.reading(x, text, present)
        seen = self.norm(x)
        if shift is not None:
            seen = seen * (1 + shift[0].unsqueeze(1)) + shift[1].unsqueeze(1)
        return x + self.narrow(functional.gelu(self.widen(seen), approximate="tanh"))


def frequencies(level: Float[Tensor, " n"], count: int) -> Float[Tensor, "n 2*{count}"]:
    """A number as sines and cosines of it, from slow to fast.

    Example:
        >>> frequencies(torch.zeros(3), 4).shape
        torch.Size([3, 8])
    """
    rates = torch.exp2(torch.arange(count, device=level.device, dtype=level.dtype) - 2)
    angles = level.unsqueeze(1) * rates
    return torch.cat((angles.sin(), angles.cos()), 1)
