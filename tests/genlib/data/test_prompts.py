"""Captions say what their images show; prompts are read or refused; held-out pairs stay out."""

from dataclasses import replace

import pytest
import torch

from genlib import Draws, ImageDiffusion, InputError
from genlib.data.images.colours import hue_of, inked
from genlib.data.prompts import (
    COLOURS,
    HELD_OUT,
    LENGTH,
    NOTHING,
    captions_of,
    drawn_colours,
    hues_of,
    is_colour,
    nearest_colour,
)

DIGITS = captions_of("mnist")


@pytest.mark.parametrize("name", ["mnist", "digits", "fashion_mnist", "cifar10"])
def test_captions_name_what_there_is_or_leave_it_open(name):
    captions = captions_of(name)
    y = torch.arange(2_000) % 10
    colour = torch.arange(2_000) % len(COLOURS)
    tokens = captions.drawn(y, colour, Draws(0, name))
    assert tokens.shape == (2_000, LENGTH)
    open_class = 0
    for row, digit, ink in zip(tokens, y.tolist(), colour.tolist(), strict=True):
        found = captions.asked(captions.text(row))
        assert found[0] in (digit, -1)
        assert found[1] in (ink, -1)
        assert captions.coloured or found[1] == -1
        open_class += found[0] == -1
    assert 0 < open_class < 1_000
    assert len(torch.unique(tokens, dim=0)) > (500 if captions.coloured else 40)


@pytest.mark.parametrize(("name", "count"), [("mnist", 12), ("cifar10", 5)])
def test_the_first_templates_name_all_there_is(name, count):
    captions = captions_of(name)
    assert captions.complete == count
    tokens = captions.drawn(torch.full((500,), 3), torch.full((500,), 5), Draws(0, name), naming_all=True)
    wanted = (3, 5 if captions.coloured else -1)
    assert all(captions.asked(captions.text(row)) == wanted for row in tokens)


def test_no_training_image_has_a_held_out_pair():
    study = ImageDiffusion.preset("tiny", batch_size=1_437, text_dropout=0)
    y = study.images.train.y
    colour = drawn_colours(y, Draws(0, "colours"), held_out=False)
    assert (colour != torch.tensor(HELD_OUT)[y]).all()
    assert (drawn_colours(y, Draws(0, "colours"), held_out=True) == torch.tensor(HELD_OUT)[y]).all()
    batch = study.batch(study.data().train, study.draws("train"))
    seen = study.pixels(batch["x"])
    for x, tokens in zip(seen, batch["tokens"], strict=True):
        digit, ink = study.captions.asked(study.captions.text(tokens))
        if ink >= 0:
            assert is_colour(hue_of(x[None]), torch.tensor([ink]))
            assert digit < 0 or HELD_OUT[digit] != ink


def test_colours_are_intervals_that_do_not_meet():
    hue = torch.arange(10_000) / 10_000
    hits = torch.stack([is_colour(hue, torch.full((10_000,), k)) for k in range(len(COLOURS))])
    assert hits.sum(0).max() == 1
    assert hits.float().mean(1).min() > 0.05
    colour = torch.arange(800) % len(COLOURS)
    drawn = hues_of(colour, Draws(0, "hues"))
    assert is_colour(drawn, colour).all()
    assert torch.equal(nearest_colour(drawn), colour)
    grey = torch.full((800, 1, 4, 4), 255, dtype=torch.uint8)
    assert is_colour(hue_of(inked(grey, drawn)), colour).all()


def test_prompts_are_read():
    assert DIGITS.asked("Seven, in red ink.") == (7, 0)
    assert DIGITS.asked("a 7 of red") == (7, 0)
    assert DIGITS.asked("") == (-1, -1)
    assert DIGITS.asked("a blue digit") == (-1, 5)
    assert (DIGITS.tokens("") == NOTHING).all()
    assert DIGITS.asked("the number of legs of a spider") == (-1, -1)


def test_articles_are_english_either_way():
    assert DIGITS.asked("an orange eight") == DIGITS.asked("a orange eight") == (8, 1)
    for prompt in ("an orange eight", "an 8 in red", "a one", "a red eight"):
        assert DIGITS.text(DIGITS.tokens(prompt)) == prompt


def test_the_official_names_of_classes_are_known():
    assert captions_of("fashion_mnist").asked("a red T-shirt") == (0, 0)
    assert captions_of("fashion_mnist").asked("an ankle boot") == (9, -1)
    assert captions_of("cifar10").asked("an aeroplane") == (0, -1)


def test_another_grammar_is_another_run():
    study = ImageDiffusion.preset("tiny")
    assert study.checksums()["captions"] == captions_of("digits").checksum
    other = replace(captions_of("digits"), thing="number")
    assert other.checksum != captions_of("digits").checksum


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a red sevn", "the word 'sevn' is unknown; the nearest known one is 'seven'"),
        ("a turquoise seven", "the word 'turquoise' is unknown"),
        ("a red 11", "the word '11' is unknown; the nearest known one is '1'"),
        ("please draw a red seven in the red ink", "9 words; allowed are 8 at most"),
        ("a red blue seven", "it names 2 colours; name one at most"),
        ("a seven or 8", "the word 'or' is unknown"),
        ("a seven 8", "it names 2 classes; name one at most"),
    ],
)
def test_prompts_that_cannot_be_read_are_refused_with_a_sentence(prompt, message):
    with pytest.raises(InputError, match=message):
        DIGITS.asked(prompt)
