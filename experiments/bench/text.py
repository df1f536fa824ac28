"""A small GPT against minGPT's arithmetic written plainly, and x-transformers; generation with the cache and without.

    pip install -e '.[bench]'
    python experiments/bench/text.py [--repeats 15]

Four layers, four heads, 128 wide, batches of 64 blocks of 64 characters, no dropout, one thread, in turns. Ratios above
1 say that genlib is faster.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from experiments.bench.timing import Burst, TimingOptions, comparison_cells, is_installed, race, show
from experiments.command.arguments import read
from genlib import TinyGPT, train
from genlib.draws import Draws
from genlib.methods import gpt
from genlib.nets.transformer import Decoder

BURST, TOKENS = 5, 256
WORDS: dict[str, Any] = {"text": "grammar", "sentence": "the queen", "prompt": "the", "continuations": (" queen",)}
ENDLESS: dict[str, Any] = {"steps": 10**9, "validate_every": 10**9, "log_every": BURST}
STUDY = TinyGPT.preset("mingpt", batch_size=64, **WORDS, **ENDLESS)


def by_genlib() -> Burst:
    """genlib's `train()`, batches and reports included."""
    progress = train(STUDY)
    return lambda: next(progress)


class PlainBlock(nn.Module):
    """Attention and perceptron as their formulas stand: every product, mask and softmax by itself."""

    mask: Tensor

    def __init__(self, width: int, heads: int, block: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.register_buffer("mask", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

    def forward(self, x: Tensor) -> Tensor:
        n, t, w = x.shape
        query, key, value = (
            part.view(n, t, self.heads, w // self.heads).transpose(1, 2) for part in self.qkv(self.first(x)).split(w, 2)
        )
        scores = (query @ key.transpose(-2, -1)) * (1.0 / math.sqrt(key.size(-1)))
        shares = functional.softmax(scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf")), dim=-1)
        x = x + self.out((shares @ value).transpose(1, 2).contiguous().view(n, t, w))
        wide = self.widen(self.second(x))
        curved = 0.5 * wide * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (wide + 0.044715 * torch.pow(wide, 3.0))))
        return x + self.narrow(curved)


class Plain(nn.Module):
    """A decoder made of plain blocks."""

    def __init__(self, study: TinyGPT, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, study.width), nn.Embedding(study.block, study.width)
        self.blocks = nn.Sequential(*(PlainBlock(study.width, study.heads, study.block) for _ in range(study.layers)))
        self.norm, self.head = nn.LayerNorm(study.width), nn.Linear(study.width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1]).unsqueeze(0)
        return self.head(self.norm(self.blocks(self.tokens(x) + self.places(places))))


def by_loop(model: nn.Module) -> Burst:
    """The usual loop: AdamW, clipped gradients, the mean loss read after a burst."""
    tokens = STUDY.data().train["tokens"]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=STUDY.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )

    def burst() -> None:
        losses = []
        for _ in range(BURST):
            first = torch.randint(len(tokens) - STUDY.block, (STUDY.batch_size, 1))
            window = tokens[first + torch.arange(STUDY.block + 1)]
            logits = model(window[:, :-1])
            loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), window[:, 1:].reshape(-1))
            model.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.detach())
        float(torch.stack(losses).mean())

    return burst


def by_x_transformers(vocabulary: int) -> Burst:
    """x-transformers: its `TransformerWrapper` at the same sizes, with fused attention."""
    from x_transformers import Decoder as Theirs
    from x_transformers import TransformerWrapper

    layers = Theirs(
        dim=STUDY.width,
        depth=STUDY.layers,
        heads=STUDY.heads,
        attn_dim_head=STUDY.width // STUDY.heads,
        attn_flash=True,
    )
    return by_loop(TransformerWrapper(num_tokens=vocabulary, max_seq_len=STUDY.block, attn_layers=layers))


def generation(cached: bool, model: Decoder) -> Burst:
    """A burst that generates 256 tokens after a prompt of eight."""
    prompt = torch.zeros(1, 8, dtype=torch.long)
    return lambda: list(gpt.generate(model, prompt, TOKENS, Draws(0, "bench"), cached=cached))


def main(options: TimingOptions) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    table = Table(title=f"medians of {options.repeats} interleaved measurements [95 % interval], one thread")
    for column in ("what", "by", "per CPU-second", "time ÷ genlib's"):
        table.add_column(column, justify="right" if column in ("per CPU-second", "time ÷ genlib's") else "left")
    size = STUDY.reader.size
    bursts: dict[str, Any] = {"genlib": by_genlib(), "minGPT's arithmetic, plain": by_loop(Plain(STUDY, size))}
    if is_installed("x_transformers"):
        bursts["x-transformers"] = by_x_transformers(size)
    times = race(bursts, options.repeats)
    for name in bursts:
        table.add_row("updates, batch 64 × 64", name, *comparison_cells(times, name, BURST))
    table.add_section()
    model = Decoder(size, block=8 + TOKENS, layers=4, heads=4, width=128).requires_grad_(False)
    texts = {"genlib": generation(True, model), "without the cache": generation(False, model)}
    times = race(texts, max(3, options.repeats // 3))
    for name in texts:
        table.add_row(
            f"tokens of a text of {TOKENS}, context {8 + TOKENS}", name, *comparison_cells(times, name, TOKENS)
        )
    show(table, "text", record=options.record, width=130)


if __name__ == "__main__":
    main(read(TimingOptions, about=__doc__))
