"""Schedules, samplers and likelihoods against the analytic denoiser of the uniform square."""

import math

import numpy as np
import pytest
import torch

from genlib import Draws, InputError, PointDiffusion, fit
from genlib.data.points.square import Square, posterior_mean
from genlib.methods import diffusion
from genlib.methods.diffusion import SAMPLERS, SCHEDULES, DiscreteLinear
from genlib.methods.guidance import guided
from genlib.metrics import sliced_wasserstein

STD = (1 / 3) ** 0.5


def perfect(x, sigma):
    """The noise, as well as it can be told."""
    wide = sigma if sigma.ndim == 0 else sigma.unsqueeze(1)
    return (x - posterior_mean(x, sigma)) / wide


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_from_lowest_to_highest(name):
    schedule = SCHEDULES[name]
    sigma = schedule.sigma(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert (sigma.diff() > 0).all()
    assert (sigma[0].item(), sigma[-1].item()) == pytest.approx((schedule.lowest, schedule.highest))
    grid = schedule.sigmas(10)
    assert len(grid) == 11
    assert (grid.diff() < 0).all()
    with pytest.raises(InputError, match="sampling steps: got 0"):
        schedule.sigmas(0)


def test_exponential_schedules_are_the_reports():
    t = torch.tensor([0.0, 0.3, 1.0])
    for name, k in (("exp3", 3), ("exp5", 5), ("exp10", 10)):
        assert SCHEDULES[name].sigma(t).tolist() == pytest.approx((k * (t - 1)).exp().tolist())


def test_preserving_schedules_keep_the_variance():
    for name in ("linear", "cosine"):
        sigma = SCHEDULES[name].sigma(torch.linspace(0, 1, 5, dtype=torch.float64))
        signal = SCHEDULES[name].signal(sigma)
        assert (signal**2 + (signal * sigma) ** 2).tolist() == pytest.approx([1] * 5)


def test_the_spirals_schedule_ends_in_a_disc():
    schedule = DiscreteLinear(40, 1e-4, 0.3)
    remaining = schedule.signal(schedule.table()) ** 2
    assert remaining[-1].item() == pytest.approx(0.0012, abs=1e-4)
    assert remaining[0].item() == pytest.approx(1 - 1e-4)
    usual = DiscreteLinear(40, 1e-4, 0.02)
    assert (usual.signal(usual.table()) ** 2)[-1].item() == pytest.approx(0.67, abs=0.01)
    assert schedule.sigma(torch.linspace(0, 1, 40, dtype=torch.float64)).tolist() == pytest.approx(
        schedule.table().tolist()
    )


def start_of(schedule, start="matched"):
    return diffusion.start_at(schedule.highest, torch.zeros(2), torch.full((2,), 1 / 3), start=start)


def exact_kl(schedule, steps, nodes=2_000):
    """KL(square ‖ model) of the perfect denoiser under DDIM, matched start, no final denoising.

    The axes are independent, so the map noise → sample is one increasing function on the line, and the density of its
    values is a change of variables.
    """
    sigmas = schedule.sigmas(steps).double()
    std = start_of(schedule).std[0].item()
    z = torch.linspace(-7, 7, 10_001, dtype=torch.float64) * std
    x = diffusion.sample(perfect, torch.stack((z, z), 1), sigmas, Draws(0, "unused"))[:, 0]
    density = torch.exp(-0.5 * (z / std) ** 2) / (std * math.sqrt(2 * math.pi))
    middle = (x[1:] + x[:-1]) / 2
    model = ((density[1:] + density[:-1]) / 2) / (x.diff() / z.diff())
    inside = np.linspace(-1, 1, nodes, endpoint=False) + 1 / nodes
    log_model = np.interp(inside, middle.numpy(), np.log(model.numpy()))
    return 2 * (math.log(0.5) - log_model.mean())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exp5", {10: 0.039, 20: 0.014, 50: 0.0074, 1000: 0.0064}),
        ("exp10", {10: 0.153, 20: 0.034, 50: 0.0050, 1000: 1e-5}),
    ],
)
def test_ddim_with_a_perfect_denoiser_is_as_far_off_as_theory_says(name, expected):
    # The published numbers hold to about a thousandth of a nat; the next test is the sharp one.
    for steps, kl in expected.items():
        assert exact_kl(SCHEDULES[name], steps) == pytest.approx(kl, rel=0.05, abs=1.2e-3), steps


@pytest.mark.parametrize("name", ["exp5", "exp10"])
def test_many_ddim_steps_give_the_density_that_the_likelihood_says(name):
    """Two roads to one number: change of variables through the sampler, and the integrated divergence."""
    u = (torch.arange(1_000, dtype=torch.float64) + 0.5) / 500 - 1
    log_p = diffusion.log_prob(perfect, torch.stack((u, u), 1), **ends(SCHEDULES[name]), steps=60)
    assert -log_p.mean().item() - math.log(4) == pytest.approx(exact_kl(SCHEDULES[name], 2_000), abs=5e-4)


def test_starting_from_unit_noise_is_too_narrow_even_for_a_perfect_denoiser():
    schedule = SCHEDULES["exp5"]
    spread = {}
    for start in ("matched", "standard"):
        noise = start_of(schedule, start).place(Draws(0, "start").normal(5_000, 2))
        spread[start] = diffusion.sample(perfect, noise, schedule.sigmas(1_000), Draws(0, "s")).std().item()
    assert spread["standard"] == pytest.approx(0.527, abs=0.006)
    assert spread["matched"] == pytest.approx(0.577, abs=0.006)


@pytest.mark.parametrize("schedule", ["exp5", "geometric", "linear", "cosine", "edm"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_recovers_the_square_under_every_schedule(schedule, sampler):
    s, n = SCHEDULES[schedule], 5_000
    noise = start_of(s).place(Draws(0, "start").normal(n, 2))
    x = diffusion.sample(perfect, noise, s.sigmas(150), Draws(0, sampler), SAMPLERS[sampler])
    assert sliced_wasserstein(x, Square().sample(n, Draws(0, "real")).x) < 0.035  # real against real: .013
    assert x.std().item() == pytest.approx(STD, abs=0.018)


def test_second_order_samplers_need_fewer_steps():
    schedule = SCHEDULES["exp5"]
    start = start_of(schedule).place(Draws(0, "start").normal(500, 2))

    def end(name, steps):
        return diffusion.sample(perfect, start, schedule.sigmas(steps), Draws(0, "s"), SAMPLERS[name])

    exact = end("heun", 2_000)
    error = {name: (end(name, 20) - exact).abs().mean().item() for name in ("ddim", "heun", "dpm2")}
    assert error["heun"] < error["ddim"] / 3
    assert error["dpm2"] < error["ddim"] / 3


def test_a_path_starts_at_the_noise_and_ends_at_the_sample():
    sigmas, start = SCHEDULES["exp5"].sigmas(8), Draws(0, "start").normal(3, 2)
    path = diffusion.path(perfect, start, sigmas, Draws(0, "s"))
    assert path.shape == (9, 3, 2)
    assert torch.equal(path[0], start)
    assert torch.equal(path[-1], diffusion.sample(perfect, start, sigmas, Draws(0, "s")))


def ends(schedule):
    return {"lowest": schedule.lowest, "highest": schedule.highest, "start": start_of(schedule)}


@pytest.mark.parametrize(("name", "best"), [("exp5", 1.3927), ("exp10", 1.3863)])
def test_the_exact_likelihood_of_a_perfect_denoiser_is_the_truth(name, best):
    x = Square().sample(4_000, Draws(0, "test")).x.double()
    log_p = diffusion.log_prob(perfect, x, **ends(SCHEDULES[name]), steps=40)
    error = log_p.std().item() / len(x) ** 0.5
    assert -log_p.mean().item() == pytest.approx(best, abs=3 * error + 3e-4)


def test_the_models_density_integrates_to_one():
    axis = torch.linspace(-1.6, 1.6, 81, dtype=torch.float64)
    log_p = diffusion.log_prob(perfect, torch.cartesian_prod(axis, axis), **ends(SCHEDULES["exp3"]), steps=30)
    assert (log_p.exp().sum() * 0.04**2).item() == pytest.approx(1, abs=2e-3)


def test_the_bound_has_the_specs_terms():
    schedule = SCHEDULES["exp5"]
    x = Square().sample(400, Draws(0, "test")).x
    bound = diffusion.variational_bound(perfect, x, Draws(0, "bound"), **ends(schedule), samples=1_000)
    assert bound.denoising.mean().item() == pytest.approx(8.273, abs=0.06)
    assert bound.reconstruction == pytest.approx(-7.162, abs=1e-3)
    assert bound.prior.mean().item() == pytest.approx(0.288, abs=0.02)
    assert bound.total.mean().item() == pytest.approx(1.399, abs=0.06)


def test_the_bounds_error_bar_is_what_repetition_shows():
    x = torch.tensor([[0.9, 0.2]])
    bounds = [
        diffusion.variational_bound(perfect, x, Draws(seed, "bound"), **ends(SCHEDULES["exp5"]), samples=300)
        for seed in range(60)
    ]
    spread = torch.cat([bound.total for bound in bounds]).std().item()
    claimed = torch.cat([bound.error for bound in bounds]).mean().item()
    assert claimed == pytest.approx(spread, rel=0.3)


def test_plain_and_preconditioned_denoisers_take_scalar_and_per_point_noise_levels():
    x, y = torch.randn(6, 2), torch.randint(5, (6,))
    for denoiser in ("plain", "preconditioned"):
        model = PointDiffusion.preset("tiny", classes=5, denoiser=denoiser).model()
        alike = model(x, torch.tensor(0.3), y), model(x, torch.full((6,), 0.3), y)
        assert torch.allclose(*alike, atol=1e-6)


def test_a_model_by_class_asks_for_the_class():
    study = PointDiffusion.preset("tiny", classes=5)
    with pytest.raises(InputError, match="give the class of each point, 0 to 4"):
        study.generate(study.model(), 10, Draws(0, "x"))


def test_preconditioning_starts_near_the_right_answer_at_both_ends():
    """With a network that says 0, x̂₀ is x at tiny noise and 0 at huge noise, whatever x is."""
    from torch import nn

    class Silent(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 2)

    model = diffusion.PreconditionedDenoiser(Silent(), data_std=STD)
    x = torch.randn(5, 2)
    for sigma, clean in ((1e-4, x), (1e4, torch.zeros(5, 2))):
        level = torch.tensor(sigma)
        assert torch.allclose(x - level * model(x, level), clean, atol=1e-3)


def test_guidance_extrapolates_between_with_and_without_the_class():
    study = PointDiffusion.preset("tiny", classes=5, label_dropout=0.1)
    model, x, sigma, y = study.model(), torch.randn(4, 2), torch.tensor(0.5), torch.tensor([0, 1, 2, 3])
    none = model(x, sigma, torch.full((4,), 5))
    with_class = model(x, sigma, y)
    pushed = guided(model, y, guidance=3.0, no_class=5)(x, sigma)
    assert torch.allclose(pushed, none + 3 * (with_class - none), atol=1e-5)
    assert torch.equal(guided(model, y)(x, sigma), with_class)


def test_guidance_acts_between_levels_of_noise_alone_and_costs_nothing_outside():
    study = PointDiffusion.preset("tiny", classes=5, label_dropout=0.1)
    model, x, y = study.model(), torch.randn(4, 2), torch.tensor([0, 1, 2, 3])
    asked = []
    model.register_forward_hook(lambda *given: asked.append(given))
    between = guided(model, y, guidance=3.0, no_class=5, between=(0.1, 0.5))
    everywhere = guided(model, y, guidance=3.0, no_class=5)
    for level, acts in ((0.05, False), (0.1, True), (0.5, True), (0.6, False)):
        sigma = torch.tensor(level)
        wanted = everywhere(x, sigma) if acts else model(x, sigma, y)
        asked.clear()
        assert torch.equal(between(x, sigma), wanted)
        assert len(asked) == 1 + acts
    mixed = torch.tensor([0.05, 0.2, 0.5, 0.9])
    rows = torch.tensor([False, True, True, False]).unsqueeze(1)
    assert torch.equal(between(x, mixed), torch.where(rows, everywhere(x, mixed), model(x, mixed, y)))


@pytest.fixture(scope="module")
def learned():
    """A small network trained for a few seconds: good enough to be held against the truth."""
    study = PointDiffusion(
        points=0, denoiser="preconditioned", weighting="edm", width=64, depth=3, activation="silu", steps=1_500,
        batch_size=500, learning_rate=5e-3, learning_rate_schedule="cosine", ema_decay=0.99, schedule="exp3",
    )  # fmt: skip
    return fit(study)


def test_a_learned_denoiser_approaches_the_analytic_one(learned):
    _, excess = learned.history.series("validation/excess")
    assert excess[-1] < 0.004
    x = Square().sample(2_000, Draws(0, "x")).x
    for sigma in (0.1, 0.3, 1.0):
        noised = x + sigma * Draws(0, "noise").normal(2_000, 2)
        level = torch.tensor(sigma)
        with torch.no_grad():
            error = (learned.model(noised, level) - perfect(noised, level)).square().mean().item()
        assert error < 0.01, sigma
    # The loss stands at its floor, far above zero.
    final = learned.history.series("validation/loss")[1][-1]
    assert final == pytest.approx(learned.study.floor(), abs=0.03)


def test_both_likelihoods_of_a_learned_model_agree_with_the_truth(learned):
    study, schedule = learned.study, learned.study.noise
    x = Square().sample(500, Draws(0, "test")).x
    exact = -study.log_prob(learned.model, x).mean().item()
    perfectly = -diffusion.log_prob(perfect, x, **ends(schedule), steps=25).mean().item()
    assert exact == pytest.approx(perfectly, abs=0.05)
    few = x[:50]
    bound = diffusion.variational_bound(learned.model, few, Draws(0, "bound"), **ends(schedule), samples=500)
    error = bound.error.square().sum().sqrt().item() / len(few)
    assert bound.total.mean().item() > -study.log_prob(learned.model, few).mean().item() - 3 * error
    assert bound.total.mean().item() == pytest.approx(1.45, abs=0.2)


def test_the_start_of_a_class_is_what_its_forward_process_ends_in():
    for name, classes in (("square", 5), ("rings", 5), ("moons", 2)):
        study = PointDiffusion.preset("tiny", density=name, classes=classes)
        x, y = study.truth.sample(60_000, Draws(0, "x"))
        noised = x + study.noise.highest * Draws(0, "noise").normal(len(x), 2)
        start = study.start_at(study.noise.highest, torch.arange(classes))
        for label in range(classes):
            mine = noised[y == label]
            assert start.mean[label].tolist() == pytest.approx(mine.mean(0).tolist(), abs=0.05)
            assert start.std[label].tolist() == pytest.approx(mine.std(0).tolist(), rel=0.03)


def test_the_starts_density_is_a_normals():
    start = diffusion.start_at(2.0, torch.tensor([0.5, -1.0]), torch.tensor([1.0, 3.0]))
    x = torch.randn(5, 2)
    normal = torch.distributions.Normal(torch.tensor([0.5, -1.0]), torch.tensor([5.0, 7.0]).sqrt())
    assert torch.allclose(start.log_prob(x), normal.log_prob(x).sum(1), atol=1e-5)
    point = torch.distributions.Normal(x, 2.0)
    expected = torch.distributions.kl_divergence(point, normal).sum(1)
    assert torch.allclose(start.divergence_from(x, 2.0), expected, atol=1e-5)
