"""Language models by next-token prediction: loss, generation, inversion, scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from genlib.adam import Adam
from genlib.draws import Draws
from genlib.methods.gumbel import gumbel
from genlib.nets.transformer import Decoder


def next_token_loss(logits: Float[Tensor, "n t v"], following: Int[Tensor, "n t"]) -> Float[Tensor, ""]:
    """−ln p of the tokens that follow, per token."""
    return functional.cross_entropy(logits.flatten(0, 1), following.flatten())


@torch.no_grad()
def scores(model: Decoder, tokens: Int[Tensor, " t"]) -> Float[Tensor, " s"]:
    """ln p of every token but the first, given those before it (at most a context of them)."""
    parts, known, block = [], 1, model.block
    for first in range(0, len(tokens) - 1, max(1, block // 2)):
        window = tokens[first : first + block + 1]
        log_p = model(window[:-1].unsqueeze(0))[0].log_softmax(-1).gather(1, window[1:].unsqueeze(1)).squeeze(1)
        new = first + len(window) - known
        parts.append(log_p[len(log_p) - new :])  # the tokens that no earlier window has scored
        known += new
    return torch.cat(parts) if parts else torch.zeros(0)


def chosen(
    logits: Float[Tensor, "n v"], draws: Draws, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Int[Tensor, " n"]:
    """The next token, drawn.

    Arguments:
        temperature: divides the logits; below 1 the probable become more so, and 0 takes the most probable.
        top_k: draw from the k most probable tokens only; 0 allows all.
        top_p: draw from the most probable tokens that make up this share only; 1 allows all.
    """
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits / temperature
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        share = ordered.softmax(-1)
        beyond = share.cumsum(-1) - share >= top_p  # the first that reaches the share is still in
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), -math.inf)
    return (logits + gumbel(draws.uniform(*logits.shape))).argmax(-1)


@torch.no_grad()
def generate(
    model: Decoder,
    prompt: Int[Tensor, "n t"],
    count: int,
    draws: Draws,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    cached: bool = True,
) -> Iterator[Int[Tensor, " n"]]:
    """Tokens that continue a prompt, one after the other.

    A full context begins anew with its later half, with a cache or without: both give the same tokens.
    """
    context = prompt[:, -model.block :]
    cache = model.cache(len(prompt)) if cached else None
    new = context
    for _ in range(count):
        logits = model.see(new if cached else context, cache=cache).logits[:, -1]
        token = chosen(logits, draws, temperature=temperature, top_k=top_k, top_p=top_p)
        yield token
        context, new = torch.cat((context, token.unsqueeze(1)), 1), token.unsqueeze(1)
        if context.shape[1] > model.block:
            context = context[:, -(model.block // 2) :]
            new = context
            if cache is not None:
                cache.filled = 0


class Inversion(NamedTuple):
    """The course of learning an input that makes a model say a sentence."""

    embeddings: Float[Tensor, "t w"]
    losses: list[float]
    exact: int | None
    """Number of updates after which the model says the sentence exactly and goes on to; None if it never does."""
    margins: list[float]
    """Lead of the least sure token over its nearest rival by update, in nats; below zero where it trails."""
    said: list[Int[Tensor, " t"]]
    """The most probable tokens by update."""


def invert(model: Decoder, sentence: Int[Tensor, " t"], draws: Draws, *, updates: int, rate: float) -> Inversion:
    """Learn embeddings after each of which the model, left as it is, says the sentence's next token."""
    width = model.tokens.weight.shape[1]
    embeddings = (draws.normal(len(sentence), width) * model.tokens.weight.std().item()).requires_grad_()
    optimizer = Adam([embeddings], lr=rate)
    losses, margins, said = [], [], []
    for _ in range(updates):
        with torch.enable_grad():
            loss = functional.cross_entropy(model(embeddings.unsqueeze(0))[0], sentence)
        optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=[embeddings])
        optimizer.step()
        with torch.no_grad():
            logits = model(embeddings.unsqueeze(0))[0]
        rivals = logits.scatter(1, sentence.unsqueeze(1), -math.inf).amax(1)
        losses.append(functional.cross_entropy(logits, sentence).item())
        margins.append((logits.gather(1, sentence.unsqueeze(1)).squeeze(1) - rivals).min().item())
        said.append(logits.argmax(-1))
    wrong = [k for k, margin in enumerate(margins) if margin <= 0]
    exact = wrong[-1] + 2 if wrong else 1  # counted from one
    return Inversion(embeddings.detach(), losses, exact if exact <= updates else None, margins, said)
