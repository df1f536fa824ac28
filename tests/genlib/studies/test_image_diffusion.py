"""Images by text: what is trained on, what a prompt changes, how guidance, film and few steps are made."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from genlib import Draws, ImageDiffusion, InputError, VICReg, fit, needed, start
from genlib.data.images.colours import inked
from genlib.data.prompts import COLOURS, Asked, hues_of
from genlib.methods import diffusion
from genlib.needs import lending
from genlib.studies.image_diffusion.judges import judge_from
from genlib.studies.image_diffusion.measures import closeness, entropy, hue_spread, real_features, right

TINY = ImageDiffusion.preset("tiny")


@pytest.fixture(scope="module")
def trained():
    return fit(TINY)


def test_what_a_model_sees_has_about_zero_mean_and_unit_variance():
    batch = TINY.captioned(*TINY.images.train, Draws(0, "captions"))
    assert abs(batch["x"].mean()) < 0.15
    assert abs(batch["x"].std() - 1) < 0.15
    assert torch.allclose(TINY.standard(TINY.pixels(batch["x"])), batch["x"], atol=1e-5)


def test_a_share_of_captions_is_withheld():
    rows = TINY.images.train
    for share in (0.0, 0.3):
        tokens = TINY.captioned(*rows, Draws(0, "captions"), text_dropout=share)["tokens"]
        assert abs((tokens == 0).all(1).float().mean() - share) < 0.05


def test_the_preconditioned_noise_is_that_of_the_formula():
    """x̂₀ = s²/(s²+σ²) x + σs/√(s²+σ²) net."""
    x, sigma, s = Draws(0, "x").normal(5, 3, 4, 4), torch.tensor([0.01, 0.3, 1.0, 4.0, 80.0]), 0.7
    noise = diffusion.preconditioned(lambda seen, level: (seen + level).tanh(), x, sigma, data_std=s)
    wide = sigma[:, None, None, None]
    total = s**2 + wide**2
    net = (x / total.sqrt() + wide.log() / 4).tanh()
    clean = s**2 / total * x + wide * s / total.sqrt() * net
    torch.testing.assert_close(x - wide * noise, clean, atol=1e-4, rtol=1e-4)


def test_prompts_count_and_the_empty_one_is_the_model_without_text(trained):
    model = trained.model
    tokens = TINY.tokens(["a red seven", "a blue one"])
    x, sigma = Draws(0, "x").normal(2, 3, 28, 28), torch.tensor(1.0)
    free = model(x, sigma, torch.zeros_like(tokens))
    told = model(x, sigma, tokens)
    pushed = replace(TINY, guidance=2.0).predictor(model, tokens)(x, sigma)
    torch.testing.assert_close(pushed, 2 * told - free)
    early = replace(TINY, guidance=2.0, guidance_from=2.0).predictor(model, tokens)
    assert torch.equal(early(x, sigma), told)
    assert not torch.equal(early(x, 2 * sigma), model(x, 2 * sigma, tokens))
    away = replace(TINY, guidance=2.0).predictor(model, tokens, tokens.flip(0))(x, sigma)
    torch.testing.assert_close(away, 2 * told - model(x, sigma, tokens.flip(0)))


def test_a_film_ends_where_the_images_are(trained):
    tokens, asked = TINY.prompts(20, Draws(0, "prompts"))
    assert asked.y.tolist() == [k % 10 for k in range(20)]
    stops, seen = TINY.path(trained.model, tokens, Draws(0, "images").fork("0"))
    assert len(stops) == len(seen) == TINY.sampling_steps + 1
    x = TINY.generate(trained.model, tokens, Draws(0, "images"))
    assert torch.equal(TINY.pixels(stops[-1]), x)
    assert TINY.shown(stops).shape == stops.shape
    assert trained.figures["film"].frames.shape[0] == TINY.sampling_steps + 1


def test_films_move(trained, tmp_path):
    from PIL import Image

    trained.figures["film"].save(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == TINY.sampling_steps + 1


def test_a_model_of_few_steps_begins_with_its_teacher():
    study = replace(TINY, few_steps=True, teacher_steps=5)
    teacher = study.needs()["teacher"]
    assert (teacher.steps, teacher.few_steps, teacher.seed) == (5, False, study.seed)
    assert replace(TINY, teacher_steps=5).key() == TINY.key()
    lent = fit(teacher).model
    with lending(lambda _: lent):
        state = start(study)
    for name, parameter in state.model.named_parameters():
        assert torch.equal(parameter, lent.state_dict()[name]), name
        assert parameter.requires_grad
        assert parameter is not dict(lent.named_parameters())[name]


def test_the_levels_of_few_steps_near_each_other():
    """A perfect denoiser of one image sees it at every level: nothing is left to learn."""
    study = replace(TINY, few_steps=True, steps=80)
    image = Draws(0, "image").normal(1, 3, 28, 28)

    def perfect(x, sigma, tokens):
        return (x - image) / sigma[:, None, None, None]

    batch = {"x": image.expand(6, -1, -1, -1), "tokens": torch.zeros(6, 8, dtype=torch.long)}
    for step in (0, 40, 79):
        (term,) = study.loss(perfect, batch, study.draws("train", step)).terms.values()
        assert term.item() < 1e-4


def test_the_judge_s_reading_of_true_images():
    judge = needed(TINY, "judge")
    part = TINY.images.evaluation
    colour = torch.arange(len(part.x)) % len(COLOURS)
    x = inked(part.x, hues_of(colour, Draws(0, "hues")))
    shares = right(judge, x, Asked(part.y, colour)).shares()
    assert shares["hue_right"] == 1
    assert shares["digit_right"] > 0.9
    assert right(judge, x, Asked(part.y, (colour + 1) % len(COLOURS))).shares()["hue_right"] == 0
    assert right(judge, x, Asked(torch.full_like(part.y, -1), torch.full_like(colour, -1))).shares()["both_right"] == 1
    grey = (part.x.float() / 255).expand(-1, 3, -1, -1)
    assert right(judge, grey, Asked(part.y, torch.zeros_like(colour))).shares()["hue_right"] == 0


def test_real_images_are_close_to_real_images_and_one_class_is_not():
    judge = needed(TINY, "judge")
    real, other = real_features(TINY.images.evaluation, judge, 144, Draws(0, "real"))
    train = TINY.images.train
    sevens = judge.features(train.x[train.y == 7][:144].float() / 255)
    metrics = closeness(real, other, sevens.repeat(2, 1)[:144], other)
    assert metrics["frechet"] > 3 * metrics["frechet_floor"]
    assert metrics["recall"] < 0.5 < metrics["recall/real"]
    assert entropy(torch.arange(1_000) % 10) == pytest.approx(2.302585, abs=1e-5)
    assert entropy(torch.full((10,), 7)) == 0


def test_hues_spread_as_in_training_or_less():
    grey = torch.full((4_000, 1, 4, 4), 255, dtype=torch.uint8)
    colour = torch.arange(4_000) % len(COLOURS)
    drawn = inked(grey, hues_of(colour, Draws(0, "hues")))
    assert hue_spread(drawn, colour) == pytest.approx(1, abs=0.05)
    middle = torch.tensor([(one.first + one.last) / 2 for one in COLOURS])[colour] % 1
    assert hue_spread(inked(grey, middle), colour) < 0.01


def test_sampling_schedules_are_looked_at_under_one_model():
    assert replace(TINY, schedule="cosine").key() == TINY.key()
    assert replace(TINY, levels="cosine").key() != TINY.key()
    for field in ({"tuning_rate": 0.5}, {"tuning_mean": 2.0}, {"teacher_steps": 7}):
        assert replace(TINY, **field).key() == TINY.key()
        few = replace(TINY, few_steps=True)
        assert replace(few, **field).key() != few.key()
        assert replace(few, **{"teacher_steps": few.steps} | field).needs()["teacher"].fields()["few_steps"] is False
    assert replace(TINY, few_steps=True, teacher_steps=TINY.steps).key() == replace(TINY, few_steps=True).key()


def test_levels_near_each_other_by_stages():
    sigma = torch.tensor([0.05, 1.0, 80.0])
    apart = torch.stack([sigma - diffusion.lower_level(sigma, stage) for stage in range(diffusion.STAGES)])
    assert (apart[1:] <= apart[:-1]).all()
    assert torch.allclose(apart[:, 2], 80 * 0.5 ** (1 + torch.arange(diffusion.STAGES)))
    assert diffusion.lower_level(sigma, 0)[0] == 0
    assert (diffusion.lower_level(sigma, diffusion.STAGES - 1) > 0.9 * sigma).all()


def test_a_film_can_be_copied(trained):
    film = trained.figures["film"]
    assert np.array_equal(copy.copy(film).frames, film.frames)


def test_photographs_have_a_judge_of_their_own():
    study = ImageDiffusion.preset("gpu")
    judge = study.evaluation_needs()["judge"]
    assert isinstance(judge, VICReg)
    assert judge.supervised
    small = VICReg.preset("tiny", supervised=True)
    seen = judge_from(small, small.model().eval())
    x = Draws(0, "photographs").uniform(3, 3, 28, 28)
    assert seen.classes(x).shape == (3,)
    assert seen.features(x).shape[0] == 3


def test_guidance_needs_the_empty_prompt():
    with pytest.raises(InputError, match="train with text_dropout above 0"):
        replace(TINY, text_dropout=0.0, guidance=2.0)


def test_guidance_acts_at_levels_of_noise_that_exist():
    with pytest.raises(InputError, match="guidance_from: got 10; allowed are levels of noise below guidance_to"):
        replace(TINY, guidance_from=10.0, guidance_to=10.0)
