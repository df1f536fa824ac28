"""A decoder of text: causal attention, a norm before each part, learnt positions. Radford et al., 2019.

One code path for everything: tokens or their embeddings come in, attention maps and a cache of keys and values come out
where they are asked for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from genlib.errors import InputError


class Cache:
    """Keys and values of the positions so far, for every block; memory for a whole context is taken once.

    Arguments:
        like: a tensor of the device and type to keep them in.
        layers, rows, heads, length, width: sizes of the transformer; `width` is a head's.
    """

    def __init__(self, like: Tensor, layers: int, rows: int, heads: int, length: int, width: int) -> None:
        self.kept = like.new_empty(layers, 2, rows, heads, length, width)
        self.filled = 0

    def extended(
        self, layer: int, key: Float[Tensor, "n h t d"], value: Float[Tensor, "n h t d"]
    ) -> tuple[Float[Tensor, "n h s d"], Float[Tensor, "n h s d"]]:
        """All keys and values of a layer, the new ones written behind the old."""
        end = self.filled + key.shape[2]
        self.kept[layer, 0, :, :, self.filled : end] = key
        self.kept[layer, 1, :, :, self.filled : end] = value
        return self.kept[layer, 0, :, :, :end], self.kept[layer, 1, :, :, :end]


class Seen(NamedTuple):
    """The decoder's output for a text."""

    logits: Float[Tensor, "n t v"]
    maps: Float[Tensor, "l n h t s"] | None
    """Attention of every block, head and position over the positions so far; only where asked for."""


class Attention(nn.Module):
    """Causal attention of several heads; one product gives queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "n t w"], cache: Cache | None, layer: int, maps: list[Tensor] | None
    ) -> Float[Tensor, "n t w"]:
        n, t, w = x.shape
        query, key, value = self.qkv(x).reshape(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extended(layer, key, value)
        s = key.shape[2]
        # A single new position sees everything; a whole text sees what is before each place.
        mask = None if t in (1, s) else torch.ones(t, s, dtype=torch.bool, device=x.device).tril(s - t)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=t == s and t > 1)
        if maps is not None:
            maps.append(_shares(query, key))
        return self.out(mixed.transpose(1, 2).reshape(n, t, w))


def _shares(query: Float[Tensor, "n h t d"], key: Float[Tensor, "n h s d"]) -> Float[Tensor, "n h t s"]:
    t, s = query.shape[2], key.shape[2]
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    later = torch.ones(t, s, dtype=torch.bool, device=scores.device).triu(s - t + 1)
    return scores.masked_fill(later, -math.inf).softmax(-1)


class Block(nn.Module):
    """Attention, then a perceptron on each position, each added to what was there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.before_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.before_perceptron = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(
        self, x: Float[Tensor, "n t w"], cache: Cache | None, layer: int, maps: list[Tensor] | None
    ) -> Float[Tensor, "n t w"]:
        x = x + self.dropout(self.attention(self.before_attention(x), cache, layer, maps))
        wide = functional.gelu(self.widen(self.before_perceptron(x)), approximate="tanh")
        return x + self.dropout(self.narrow(wide))


class Decoder(nn.Module):
    """Text in, logits of the next token out.

    Arguments:
        vocabulary: number of tokens there are.
        block: number of positions there are.
        layers, heads, width: number of blocks, of heads in each, of features of a position.
        tied: True for one table of tokens that both reads and writes, False for one table each.
        dropout: share of features that are left out of every sum while training.

    Example:
        >>> decoder = Decoder(11, block=16, layers=2, heads=2, width=8)
        >>> decoder(torch.zeros(3, 5, dtype=torch.long)).shape
        torch.Size([3, 5, 11])
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        block: int,
        layers: int,
        heads: int,
        width: int,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.block, self.heads = block, heads
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(block, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():  # as in GPT-2
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                last = name.endswith(("attention.out.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if last else 0.02)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: Int[Tensor, "n t"] | Float[Tensor, "n t w"]) -> Float[Tensor, "n t v"]:
        """Logits of what follows each position."""
        return self.see(x).logits

    def see(
        self,
        x: Int[Tensor, "n t"] | Float[Tensor, "n t w"],
        *,
        cache: Cache | None = None,
        attention: bool = False,
    ) -> Seen:
        """Logits, and the attention maps where asked for.

        Arguments:
            x: tokens, or embeddings in their place.
            cache: keys and values of the positions before these; those of these are added.
        """
        embedded = x if x.is_floating_point() else self.tokens(x)
        before = cache.filled if cache is not None else 0
        if before + x.shape[1] > self.block:
            raise InputError(f"{before + x.shape[1]} positions: this decoder has {self.block}; give fewer tokens.")
        h = self.dropout(embedded + self.places.weight[before : before + x.shape[1]])
        maps: list[Tensor] | None = [] if attention else None
        for layer, block in enumerate(self.blocks):
            h = block(h, cache, layer, maps)
        if cache is not None:
            cache.filled += x.shape[1]
        return Seen(self.head(self.norm(h)), torch.stack(maps) if maps else None)

    def cache(self, rows: int) -> Cache:
        """An empty cache with room for a whole context."""
        width = self.tokens.weight.shape[1] // self.heads
        return Cache(self.tokens.weight, len(self.blocks), rows, self.heads, self.block, width)
