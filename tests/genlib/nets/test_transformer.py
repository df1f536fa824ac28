"""A decoder sees what was and never what comes; with a cache it is the same function."""

import pytest
import torch

from genlib import Draws, InputError
from genlib.nets.transformer import Decoder


@pytest.fixture
def decoder():
    with Draws(0, "decoder").default_generator():
        found = Decoder(13, block=12, layers=3, heads=2, width=16)
        for parameter in found.parameters():  # larger than at the start, so that attention is not even
            torch.nn.init.normal_(parameter, std=0.3)
    return found


def tokens(rows=2, length=12):
    return Draws(0, "tokens").integers(13, rows, length)


def test_no_position_sees_the_future(decoder):
    x = decoder.tokens(tokens()).detach().requires_grad_()
    logits = decoder(x)
    for t in range(12):
        (gradient,) = torch.autograd.grad(logits[:, t].sum(), x, retain_graph=True)
        assert (gradient[:, t + 1 :] == 0).all()
        assert gradient[:, : t + 1].abs().sum((0, 2)).min() > 0


def test_tokens_and_their_embeddings_are_the_same(decoder):
    assert torch.equal(decoder(tokens()), decoder(decoder.tokens(tokens())))


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 5], [3, 4, 5], [12]])
def test_piece_by_piece_with_a_cache_it_is_the_same(decoder, pieces):
    x, cache = tokens(), decoder.cache(2)
    with torch.no_grad():
        seen = torch.cat([decoder.see(part, cache=cache).logits for part in torch.split(x, pieces, 1)], 1)
        assert torch.allclose(seen, decoder(x), atol=1e-5)
    assert cache.filled == 12


def test_beyond_its_positions_it_says_so(decoder):
    cache = decoder.cache(2)
    decoder.see(tokens(), cache=cache)
    with pytest.raises(InputError, match="13 positions: this decoder has 12"):
        decoder.see(tokens()[:, :1], cache=cache)
    with pytest.raises(InputError, match="14 positions"):
        decoder(tokens(2, 14))


def test_a_cache_is_of_the_decoders_type(decoder):
    decoder = decoder.double()
    with torch.no_grad():
        assert torch.allclose(decoder.see(tokens(), cache=decoder.cache(2)).logits, decoder(tokens()))


def test_attention_is_what_is_used(decoder):
    """The maps, applied to the values, give what the block's attention gives."""
    x = tokens()
    plain, seen = decoder(x), decoder.see(x, attention=True)
    assert torch.equal(plain, seen.logits)
    assert seen.maps.shape == (3, 2, 2, 12, 12)
    assert torch.allclose(seen.maps.sum(-1), torch.ones(3, 2, 2, 12))
    assert (seen.maps.triu(1) == 0).all()
    first = decoder.blocks[0]
    h = first.before_attention(decoder.tokens(x) + decoder.places.weight)
    value = first.attention.qkv(h).reshape(2, 12, 3, 2, 8)[:, :, 2].transpose(1, 2)
    mixed = (seen.maps[0] @ value).transpose(1, 2).reshape(2, 12, 16)
    assert torch.allclose(first.attention.out(mixed), first.attention(h, None, 0, None), atol=1e-5)


def test_maps_come_with_a_cache_too(decoder):
    x, cache = tokens(), decoder.cache(2)
    with torch.no_grad():
        decoder.see(x[:, :7], cache=cache)
        later = decoder.see(x[:, 7:], cache=cache, attention=True).maps
        assert torch.allclose(later, decoder.see(x, attention=True).maps[..., 7:, :], atol=1e-5)


def test_one_table_reads_and_writes_if_asked():
    free, tied = (Decoder(13, block=12, layers=1, heads=2, width=16, tied=one) for one in (False, True))
    assert tied.head.weight is tied.tokens.weight
    count = [sum(parameter.numel() for parameter in decoder.parameters()) for decoder in (free, tied)]
    assert count[0] - count[1] == 13 * 16


def test_it_begins_unsure():
    with Draws(0, "new").default_generator():
        logits = Decoder(50, block=12, layers=4, heads=2, width=32)(tokens() % 50)
    assert torch.allclose(logits.softmax(-1), torch.full_like(logits, 0.02), atol=0.02)
