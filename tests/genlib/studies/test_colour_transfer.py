"""Colour transfer: the truth scores full marks, wrong answers do not, and no image is in both domains."""

import pytest
import torch

from genlib import ColourTransfer, InputError, needed
from genlib.data.images.colours import digit_hues, hue_of, rgb

STUDY = ColourTransfer.preset("tiny")


class Oracle:
    """Carries by looking the ink up: every pixel as bright as before, in the right hue, `off` by so many digits."""

    def __init__(self, off=0):
        self.off = off
        self.a_to_b, self.b_to_a = self.carrier("a", "b"), self.carrier("b", "a")

    def carrier(self, here, there):
        def carry(x):
            near = (hue_of(x).unsqueeze(1) - digit_hues(torch.arange(10), here)).abs()
            digit = torch.minimum(near, 1 - near).argmin(1)
            return x.amax(1, keepdim=True) * rgb(digit_hues((digit + self.off) % 10, there))[:, :, None, None]

        return carry


def test_the_truth_scores_full_marks():
    found = STUDY.evaluate(Oracle(), STUDY.draws("evaluate")).metrics
    assert found["hue_right"] == 1
    assert found["psnr"] == pytest.approx(100)
    assert found["cycle_l1"] < 1e-6
    judge, part = needed(STUDY, "judge"), STUDY.images.evaluation
    right = (judge.classes(part.x.float() / 255) == part.y).float().mean().item()
    assert found["digit_kept"] == pytest.approx(right)  # no better than the judge, who reads grey and ink alike


def test_the_wrong_colour_scores_none_though_it_comes_back():
    found = STUDY.evaluate(Oracle(off=5), STUDY.draws("evaluate")).metrics
    assert found["hue_right"] == 0
    assert found["psnr"] < 15
    assert found["cycle_l1"] < 1e-6  # five and five are ten
    assert found["digit_kept"] > 0.9


@pytest.mark.parametrize("dulled", [lambda x: 0 * x, lambda x: 0.98 * x.amax(1, keepdim=True) + 0.02 * x])
def test_black_and_grey_are_no_hue(dulled):
    oracle = Oracle()
    oracle.a_to_b, oracle.b_to_a = (lambda x, f=f: dulled(f(x)) for f in (oracle.a_to_b, oracle.b_to_a))
    assert STUDY.evaluate(oracle, STUDY.draws("evaluate")).metrics["hue_right"] == 0


def test_no_digit_is_in_both_domains_and_each_has_its_colour():
    train = STUDY.data().train
    a, b = (train[name].flatten(1).double() @ torch.randn(784, dtype=torch.float64) for name in ("a", "b"))
    assert not set(a.tolist()) & set(b.tolist())
    ten = torch.arange(10)
    hues = torch.stack((digit_hues(ten, "a"), digit_hues(ten, "b")))
    assert (hues[0] != hues[1]).all()
    assert len(set(hues[0].tolist())) == len(set(hues[1].tolist())) == 10


def test_critics_have_a_rate_of_their_own():
    study = ColourTransfer.preset("best", data_set="digits")
    rates = [group["lr"] for group in study.optimizer(study.model()).param_groups]
    assert rates == pytest.approx([study.learning_rate, study.learning_rate * study.critic_rate])


def test_wrong_fields_are_refused():
    with pytest.raises(InputError, match=r"betas: got .* give two numbers"):
        ColourTransfer(betas=(0.5,))
    with pytest.raises(InputError, match="data_set: got 'cifar10'"):
        ColourTransfer(data_set="cifar10")
