"""The judge of digits: right nearly always, in ink of any colour, and the same for every study of its data set."""

import torch

from genlib import ColourTransfer, ContinuousVAE, DigitJudge, Draws, fit
from genlib.data.images import images
from genlib.data.images.colours import inked
from genlib.studies.digit_judge.study import judge_of


def test_it_tells_digits_in_ink_of_any_hue():
    trained = fit(DigitJudge.preset("tiny", steps=200))
    assert trained.evaluation.metrics["accuracy"] > 0.9
    test = images("digits").test
    coloured = inked(test.x, Draws(0, "hue").uniform(len(test.x)))
    assert (trained.model.classes(coloured) == test.y).float().mean() > 0.9
    noise = Draws(0, "noise").uniform(500, 1, 28, 28)
    assert trained.model.probabilities(noise).sum(1).allclose(torch.ones(500))


def test_studies_of_one_data_set_share_it_whatever_their_seeds():
    judges = {kind(data_set="digits", seed=seed).evaluation_needs()["judge"]
              for kind in (ColourTransfer, ContinuousVAE) for seed in (0, 1)}  # fmt: skip
    assert judges == {judge_of("digits")}
    assert judge_of("mnist") != judge_of("digits")
