"""Nets that read prompts: they see the text and the level of noise, and places only where they are told them."""

import pytest
import torch

from genlib import Draws
from genlib.nets.patch_transformer import PatchTransformer
from genlib.nets.text_encoder import TextEncoder
from genlib.nets.unet import UNet


def shaken(net):
    """Weights away from their start, where some are zero."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def unet(**fields):
    return UNet(3, 8, patch=1, widths=(8, 16), blocks=1, text=8, **fields)


def transformer(**fields):
    return PatchTransformer(3, 8, patch=2, width=16, layers=2, text=8, **fields)


@pytest.fixture(autouse=True)
def seeded():
    with Draws(0, "nets").default_generator():
        yield


@pytest.fixture
def text(seeded):
    return shaken(TextEncoder(11, length=4, width=8, layers=2))


def lean_unet():
    return unet(lean=True)


@pytest.fixture(params=[unet, lean_unet, transformer])
def net(request, seeded):
    return shaken(request.param())


def seen(net, text, tokens, level=0.3, x=None):
    x = Draws(0, "x").normal(1, 3, 8, 8) if x is None else x
    with torch.no_grad():
        return net(x, torch.tensor([level]), text(torch.tensor([tokens])))


def test_what_is_read_and_the_level_of_noise_count(net, text):
    usual = seen(net, text, [3, 5, 0, 0])
    for other in (seen(net, text, [5, 3, 0, 0]), seen(net, text, [0, 0, 0, 0]), seen(net, text, [3, 5, 0, 0], 0.9)):
        assert (usual - other).abs().max() > 1e-4


def test_places_where_no_word_is_are_not_read(text):
    read = text(torch.tensor([[3, 5, 0, 0]]))
    with torch.no_grad():
        text.tokens.weight[0] += 7
        again = text(torch.tensor([[3, 5, 0, 0]]))
    assert torch.allclose(read.whole, again.whole)
    assert torch.allclose(read.words[read.present], again.words[again.present])
    assert read.present.tolist() == [[True, True, True, False, False]]


def test_rows_do_not_see_each_other(net, text):
    x = Draws(0, "rows").normal(3, 3, 8, 8)
    tokens = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0], [0, 0, 0, 0]])
    level = torch.tensor([0.1, 0.5, -0.4])
    with torch.no_grad():
        together = net(x, level, text(tokens))
        alone = torch.cat([net(x[k : k + 1], level[k : k + 1], text(tokens[k : k + 1])) for k in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_patches_without_places_do_not_know_where_they_are(text):
    x = Draws(0, "x").normal(1, 3, 8, 8)
    moved = x.roll((2, 4), (2, 3))
    for places, same in ((False, True), (True, False)):
        net = shaken(transformer(positions=places))
        here, there = (seen(net, text, [3, 0, 0, 0], x=one) for one in (x, moved))
        assert torch.allclose(here.roll((2, 4), (2, 3)), there, atol=1e-4) == same


def test_a_unet_without_places_still_sees_the_border(text):
    x = Draws(0, "x").normal(1, 3, 8, 8)
    net = shaken(unet(positions=False))
    assert net.places is None
    here, there = seen(net, text, [3, 0, 0, 0], x=x), seen(net, text, [3, 0, 0, 0], x=x.roll((2, 4), (2, 3)))
    assert (here.roll((2, 4), (2, 3)) - there).abs().max() > 1e-3


def test_gradients_reach_every_parameter(net, text):
    x = Draws(0, "x").normal(2, 3, 8, 8)
    net(x, torch.tensor([0.3, 1.0]), text(torch.tensor([[3, 5, 0, 0], [1, 2, 3, 4]]))).square().sum().backward()
    for name, parameter in [*net.named_parameters(), *text.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
