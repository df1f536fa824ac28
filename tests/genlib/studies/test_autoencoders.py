"""Autoencoders: what is measured has whole codes, bounds hold, data are what the seed says, controls match."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from genlib import ContinuousVAE, DiscreteVAE, Diverged, InputError, JointVAE, fit, needed
from genlib.data.images.colours import hue_distance, hue_of
from genlib.methods.vae import Posterior
from genlib.studies.autoencoders import claims
from genlib.studies.autoencoders.measures import controlled

KINDS = (ContinuousVAE, DiscreteVAE, JointVAE)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title())


@pytest.fixture(scope="module")
def joint():
    return fit(JointVAE.preset("tiny", steps=60, hidden=(64, 32)))


@kinds
def test_the_report_has_the_reports_network(kind):
    model = kind().model()
    widths = [layer.out_features for layer in model.encoder if hasattr(layer, "out_features")]
    code = {ContinuousVAE: 4, DiscreteVAE: 200, JointVAE: 204}[kind]
    assert widths == [512, 256, code]
    assert [layer.out_features for layer in model.decoder if hasattr(layer, "out_features")] == [256, 512, 2352]


def test_what_is_measured_has_whole_codes(joint):
    """Nothing of the relaxation reaches a measurement: a code that is drawn is one-hot, whatever the temperature."""
    study = joint.study
    z, c = study.drawn(joint.model.encode(study.image(study.part("validation"))), study.draws("test"))
    assert set(c.unique().tolist()) == {0.0, 1.0}
    assert (c.sum(-1) == 1).all()
    assert z.shape[1] == 2
    rows, draws = study.part("validation"), study.draws("test")
    hot = replace(study, least_temperature=0.9, cooling=0.0)
    assert hot.whole_loss(joint.model, rows, draws) == study.whole_loss(joint.model, rows, draws)


def test_drawn_categories_are_as_frequent_as_the_posterior_says(joint):
    study = joint.study
    posterior = joint.model.encode(study.image({k: v[:1] for k, v in study.part("validation").items()}))
    many = type(posterior)(*(part.expand(20_000, *part.shape[1:]) for part in posterior))
    share = study.drawn(many, study.draws("test"))[1].mean(0)
    assert torch.allclose(share, posterior.logits[0].softmax(-1), atol=0.02)


def test_the_divergence_of_categories_is_bounded(joint):
    assert 0 <= joint.evaluation.metrics["test/discrete_kl"] <= 3 * math.log(10)
    sure = joint.study.model()
    with torch.no_grad():
        sure.encoder[-1].weight.zero_()
        sure.encoder[-1].bias.zero_()
        sure.encoder[-1].bias[4::10] = 1e4  # one category of each variable, for certain
    found = joint.study.whole_loss(sure, joint.study.part("validation"), joint.study.draws("test"))
    assert found["discrete_kl"] == pytest.approx(3 * math.log(10), rel=1e-5)


def test_the_loss_that_is_measured_is_the_elbo_whatever_beta(joint):
    rows, draws = joint.study.part("validation"), joint.study.draws("test")
    found = replace(joint.study, beta=4.0).whole_loss(joint.model, rows, draws)
    assert found == joint.study.whole_loss(joint.model, rows, draws)
    assert found["loss"] == pytest.approx(found["pixels"] + found["continuous_kl"] + found["discrete_kl"])


def test_beta_warms_up():
    study = ContinuousVAE.preset("tiny", beta=2.0, beta_warmup=10)
    model, rows = study.model(), study.part("validation")
    kl = [study.loss(model, rows, study.draws("train", step)).terms["continuous_kl"].item() for step in (0, 4, 9, 50)]
    assert np.array(kl) / kl[-1] == pytest.approx([0.1, 0.5, 1, 1], rel=1e-5)


def test_ink_is_any_hue_and_says_nothing_of_the_digit():
    study = ContinuousVAE.preset("tiny")
    train, test = study.data()
    for rows in (train, test):
        assert np.histogram(rows["hue"].numpy(), 4, (0, 1))[0].min() > 0.2 * len(rows["hue"])
        by_digit = [rows["hue"][rows["y"] == digit].mean().item() for digit in range(10)]
        assert np.ptp(by_digit) < 0.3
    assert torch.equal(study.data().train["hue"], train["hue"])
    assert not torch.equal(replace(study, seed=1).data().train["hue"], train["hue"])
    seen = hue_of(study.image({k: v[:50] for k, v in train.items()}))
    assert hue_distance(seen, train["hue"][:50]).max() < 1e-3


def test_binary_images_are_black_and_white_settled_for_tests_and_afresh_for_training_if_asked():
    once, afresh = (ContinuousVAE.preset("tiny", pixels="binary", binarised=how) for how in ("once", "afresh"))
    for study in (once, afresh):
        assert set(study.part("test")["x"].unique().tolist()) == {0, 255}
        assert torch.equal(study.part("test")["x"], once.part("test")["x"])
        train = study.data().train
        batches = [study.batch(train, study.draws("train", 0))["x"] for _ in range(2)]
        assert set(batches[0].unique().tolist()) == {0, 255}
        assert torch.equal(*batches)
    grey = afresh.data().train
    rows = afresh.draws("train", 0).batch(len(grey["x"]), 32)
    many = torch.stack([afresh.batch(grey, afresh.draws(f"train {k}", 0))["x"].float() for k in range(2)])
    assert not torch.equal(many[0], many[1])
    share = once.data().train["x"].float().mean() / grey["x"].float().mean()
    assert share == pytest.approx(1, abs=0.02)  # as bright on average
    assert len(rows) == 32


def test_validation_and_evaluation_share_no_image():
    study = ContinuousVAE.preset("tiny")
    first, second, whole = (study.part(name) for name in ("validation", "evaluation", "test"))
    for name in whole:
        assert torch.equal(torch.cat((first[name], second[name])), whole[name])


def test_the_likelihood_lies_above_the_elbo():
    run = fit(ContinuousVAE.preset("tiny", pixels="binary", steps=100, hidden=(64,), importance_samples=50))
    metrics = run.evaluation.metrics
    assert metrics["nll"] < metrics["test/loss"] + 3 * metrics["nll_error"]


class Pixels(torch.nn.Module):
    """A model whose code is the image itself."""

    categories, shape = 1, (3, 28, 28)

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encode(self, x):
        return Posterior(x.flatten(1), torch.zeros(len(x), x[0].numel()), torch.zeros(len(x), 0, 1))

    def decode(self, z, c):
        return z.reshape(-1, 3, 28, 28).logit(1e-6)


def test_controlled_images_come_in_the_order_asked_for():
    """Of a model that reconstructs perfectly: the mean image of each digit, in each hue."""
    study = ContinuousVAE.preset("tiny")
    asked = controlled(Pixels(), study.images.train, coloured=True)
    assert asked.shape == (10, 10, 3, 28, 28)
    hues = hue_of(asked.flatten(0, 1)).reshape(10, 10)
    assert hue_distance(hues.flatten(), (torch.arange(10) / 10).repeat(10)).max() < 0.01
    read = needed(study, "judge").classes(asked.flatten(0, 1)).reshape(10, 10)
    assert (read == torch.arange(10).unsqueeze(1)).float().mean() >= 0.8


def test_samples_are_bytes_with_their_codes(joint):
    drawn = joint.study.sample(joint.model, 30, joint.study.draws("test"))
    assert drawn["x"].dtype == torch.uint8
    assert drawn["x"].shape == (30, 3, 28, 28)
    assert drawn["z"].shape == (30, 2)
    assert drawn["c"].shape == (30, 3)
    further = joint.study.prior(5_000, joint.study.draws("test"), scale=5.0)[0]
    assert further.std() == pytest.approx(5, rel=0.05)


@kinds
def test_colours_need_grey_images(kind):
    with pytest.raises(InputError, match=r"data_set: got 'cifar10'.*one of digits, mnist, fashion_mnist"):
        kind(data_set="cifar10")


def test_one_that_diverges_says_so():
    with pytest.raises(Diverged, match=r"validation/loss became nan at step 1; .* is kept"):
        fit(DiscreteVAE.preset("tiny", learning_rate=1e30, validate_every=1))


def test_the_controls_have_the_joint_models_capacity():
    def weights(study):
        return sum(parameter.numel() for parameter in study.model().parameters())

    def variables(study):
        return study.code.continuous + study.code.variables

    for control in (claims.WIDE_CONTINUOUS, claims.WIDE_DISCRETE):
        assert weights(control) == pytest.approx(weights(claims.JOINT), rel=0.005)
        assert variables(control) == variables(claims.JOINT)


def test_order_of_the_plane_is_told_from_disorder(joint):
    class Oracle:
        """A model whose codes are what it is told."""

        def __init__(self, codes):
            self.codes = codes

        def encode(self, x):
            mine, self.codes = self.codes[: len(x)], self.codes[len(x) :]
            return type("Posterior", (), {"mean": mine})

    rows = joint.study.part("evaluation")
    angle = 2 * math.pi * rows["hue"]
    by_hue = torch.stack((angle.cos(), angle.sin()), 1)
    by_digit = torch.stack((rows["y"].float(), 0.001 * rows["hue"]), 1)
    same, apart = claims.neighbours(replace_model(joint, Oracle(by_hue)))
    assert same < 0.25
    assert apart < 0.05
    same, _ = claims.neighbours(replace_model(joint, Oracle(by_digit)))
    assert same > 0.9


def replace_model(run, model):
    return type(run)(run.study, model, run.history)
