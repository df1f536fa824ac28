"""Autoencoders whose truth is known: divergences, relaxation, and a likelihood that can be computed by hand."""

import itertools
import math

import pytest
import torch

from genlib import Draws
from genlib.methods import vae
from genlib.methods.vae import VAE

KINDS = {
    "continuous": {"continuous": 2},
    "discrete": {"variables": 3, "categories": 4},
    "joint": {"continuous": 2, "variables": 3, "categories": 4},
}


@pytest.fixture(params=KINDS)
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE((1, 4, 4), hidden=(16, 8), **KINDS[request.param])


def images(n=6):
    return (Draws(0, "x").uniform(n, 1, 4, 4) < 0.4).float()


def loss(model, x):
    draws = Draws(0, "loss")
    posterior = model.encode(x)
    z = posterior.mean + (0.5 * posterior.log_variance).exp() * draws.normal(*posterior.mean.shape)
    c = vae.relaxed(posterior.logits, draws.uniform(*posterior.logits.shape), 0.7)
    kl = vae.continuous_kl(posterior.mean, posterior.log_variance) + vae.discrete_kl(posterior.logits)
    return (vae.pixel_loss(x, model.decode(z, c)) + kl).mean()


def test_gradients_reach_every_parameter(model):
    loss(model, images()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_shapes_and_range(model):
    x = images()
    found = model(x)
    assert found.shape == x.shape
    assert ((found > 0) & (found < 1)).all()


def test_continuous_kl_is_the_integral():
    mean, log_variance = torch.tensor([[0.7, -1.2]]), torch.tensor([[0.3, -0.8]])
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    exact = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum()
    assert vae.continuous_kl(mean, log_variance).item() == pytest.approx(exact.item(), rel=1e-5)


def test_discrete_kl_lies_between_nothing_and_v_ln_k():
    logits = 20 * Draws(0, "logits").normal(500, 20, 10)
    kl = vae.discrete_kl(logits)
    assert (kl <= 20 * math.log(10) + 1e-4).all()
    assert kl.max() > 0.9 * 20 * math.log(10)
    assert vae.discrete_kl(torch.zeros(1, 20, 10)).item() == pytest.approx(0, abs=1e-5)
    assert vae.discrete_kl(torch.zeros(3, 0, 1)).tolist() == [0, 0, 0]


def test_relaxed_draws_have_the_categories_shares_and_grow_cold():
    logits = torch.tensor([0.5, -0.3, 1.2]).expand(40_000, 1, 3)
    uniform = Draws(0, "gumbel").uniform(40_000, 1, 3)
    shares = torch.bincount(vae.relaxed(logits, uniform, 0.5).argmax(-1).flatten(), minlength=3) / 40_000
    assert torch.allclose(shares, logits[0, 0].softmax(0), atol=0.01)
    warm, cold = (vae.relaxed(logits, uniform, t).amax(-1).mean() for t in (1.0, 0.05))
    assert cold > 0.98 > warm


def test_the_temperature_falls_to_its_floor():
    values = [vae.temperature(step, least=0.5, rate=3e-4) for step in range(0, 6_000, 100)]
    assert values[0] == 1
    assert values[-1] == 0.5
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert vae.temperature(1_000, least=0.5, rate=3e-4) == pytest.approx(math.exp(-0.3))


def test_the_likelihood_of_discrete_codes_is_the_sum_over_all_of_them():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = VAE((1, 4, 4), hidden=(16, 8), variables=2, categories=3)
    x = images()
    codes = list(itertools.product(range(3), repeat=2))
    each = torch.stack(
        [
            -vae.pixel_loss(x, model.decode(torch.zeros(len(x), 0), vae.one_hot(torch.tensor([code] * len(x)), 3)))
            for code in codes
        ]
    )
    exact = each.logsumexp(0) - 2 * math.log(3)
    found = vae.log_likelihood(model, x, Draws(0, "is"), samples=2_000)
    assert torch.allclose(found, exact, atol=0.02)


def test_the_likelihood_of_continuous_codes_is_the_integral():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = VAE((1, 4, 4), hidden=(16, 8), continuous=1)
    x, z = images(), torch.linspace(-6, 6, 2_001).unsqueeze(1)
    logits = model.decode(z, torch.zeros(len(z), 0, 1))
    log_x = torch.stack([-vae.pixel_loss(row.expand(len(z), -1, -1, -1), logits) for row in x])
    exact = (log_x - 0.5 * z[:, 0].square() - 0.5 * math.log(2 * math.pi)).logsumexp(1) + math.log(12 / 2_000)
    assert torch.allclose(vae.log_likelihood(model, x, Draws(0, "is"), samples=2_000), exact, atol=0.02)


def test_more_samples_are_closer_from_below(model):
    x = images(200)
    few, many = (vae.log_likelihood(model, x, Draws(0, "is"), samples=count).mean() for count in (1, 100))
    assert few < many + 1e-3
