"""Text by a cache is the text without; scores are those of the text; an input is found that says a sentence."""

import math

import pytest
import torch

from genlib import Draws
from genlib.methods import gpt
from genlib.nets.transformer import Decoder


@pytest.fixture
def decoder():
    with Draws(2, "decoder").default_generator():
        found = Decoder(11, block=12, layers=2, heads=2, width=32)
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.25)
    return found.requires_grad_(False)


def text(decoder, count, prompt=3, **how):
    begun = Draws(0, "prompt").integers(11, 2, prompt)
    return torch.stack(list(gpt.generate(decoder, begun, count, Draws(0, "text"), **how)), 1)


@pytest.mark.parametrize("prompt", [1, 3, 12, 20])
def test_cached_and_uncached_text_is_the_same_beyond_the_context_too(decoder, prompt):
    assert torch.equal(text(decoder, 40, prompt), text(decoder, 40, prompt, cached=False))


def test_the_coldest_text_is_the_most_probable(decoder):
    found = text(decoder, 5, temperature=0)
    x = Draws(0, "prompt").integers(11, 2, 3)
    for k in range(5):
        assert torch.equal(found[:, k], decoder(x)[:, -1].argmax(-1))
        x = torch.cat((x, found[:, k : k + 1]), 1)


def frequencies(**how):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    return torch.bincount(gpt.chosen(logits, Draws(0, "choice"), **how), minlength=4) / 20_000


def test_tokens_are_drawn_as_asked():
    assert torch.allclose(frequencies(), torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.015)
    assert torch.allclose(frequencies(top_k=2), torch.tensor([0.625, 0.375, 0, 0]), atol=0.015)
    assert torch.allclose(frequencies(top_p=0.6), torch.tensor([0.625, 0.375, 0, 0]), atol=0.015)
    assert torch.allclose(frequencies(top_p=0.01), torch.tensor([1.0, 0, 0, 0]))
    squared = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    assert torch.allclose(frequencies(temperature=0.5), squared / squared.sum(), atol=0.015)


def test_scores_are_those_of_the_text(decoder):
    tokens = Draws(0, "tokens").integers(11, 9)
    found = gpt.scores(decoder, tokens)
    expected = [decoder(tokens[:k].unsqueeze(0))[0, -1].log_softmax(-1)[tokens[k]] for k in range(1, 9)]
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    assert gpt.scores(decoder, tokens[:1]).shape == (0,)


def test_a_long_text_is_scored_once_with_half_a_context_or_more(decoder):
    tokens = Draws(0, "tokens").integers(11, 50)
    found = gpt.scores(decoder, tokens)
    assert found.shape == (49,)
    for k in (20, 33, 49):
        context = {tuple(tokens[k - n : k].tolist()): n for n in range(6, 13)}
        candidates = [
            decoder(tokens[k - n : k].unsqueeze(0))[0, -1].log_softmax(-1)[tokens[k]] for n in context.values()
        ]
        assert min(abs(float(found[k - 1] - one)) for one in candidates) < 1e-5


def test_the_loss_of_an_ignorant_model_is_that_of_chance():
    logits = torch.zeros(3, 5, 7)
    assert gpt.next_token_loss(logits, Draws(0, "y").integers(7, 3, 5)).item() == pytest.approx(math.log(7))


def test_an_input_is_learnt_that_says_a_sentence(decoder):
    sentence = Draws(0, "sentence").integers(11, 8)
    before = {name: parameter.clone() for name, parameter in decoder.named_parameters()}
    found = gpt.invert(decoder, sentence, Draws(0, "invert"), updates=200, rate=0.1)
    assert found.exact is not None
    said = decoder(found.embeddings.unsqueeze(0))[0].argmax(-1)
    assert torch.equal(said, sentence)
    assert torch.equal(found.said[-1], sentence)
    assert min(found.margins[found.exact - 1 :]) > 0
    assert found.exact == 1 or found.margins[found.exact - 2] <= 0
    assert found.losses[-1] < found.losses[0]
    assert all(torch.equal(parameter, before[name]) for name, parameter in decoder.named_parameters())


def test_a_model_that_still_learns_is_left_as_it_is(decoder):
    learning = decoder.requires_grad_(True)
    gpt.invert(learning, Draws(0, "sentence").integers(11, 8), Draws(0, "invert"), updates=2, rate=0.1)
    assert all(parameter.grad is None for parameter in learning.parameters())


def test_one_that_was_not_learnt_says_so(decoder):
    found = gpt.invert(decoder, Draws(0, "sentence").integers(11, 8), Draws(0, "invert"), updates=1, rate=1e-6)
    assert found.exact is None
