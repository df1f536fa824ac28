"""Every density is what it says: numbers of the spec, quadrature, and samples that agree with both."""

import math

import pytest
import torch

from genlib import Draws
from genlib.data.points import density
from genlib.data.points.square import Square, noise_floor, posterior_mean
from genlib.methods.diffusion import SCHEDULES

NAMES = ("square", "spiral", "moons", "gaussians", "rings", "course_rings", "checkerboard")
WITH_CLASSES = ("square", "moons", "gaussians", "rings", "course_rings")
UNIFORM = ("square", "rings", "course_rings", "checkerboard")
N = 100_000


def draws(stream="test"):
    return Draws(0, stream)


def grid(d, nodes=1200):
    axis = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes * 2 - 1
    points = torch.cartesian_prod(axis, axis) * torch.tensor(d.extent, dtype=torch.float64)
    return points + torch.tensor(d.centre, dtype=torch.float64), 4 * d.extent[0] * d.extent[1] / nodes**2


@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one_and_its_entropy_is_the_integral(name):
    d = density(name)
    points, cell = grid(d, 300 if name in ("spiral", "moons") else 1200)
    log_p = d.log_prob(points)
    p = log_p.exp()
    tolerance = 4e-3 if name in UNIFORM else 1e-5  # edges cut the grid's cells
    assert (p.sum() * cell).item() == pytest.approx(1, abs=tolerance)
    assert (-torch.special.xlogy(p, p).sum() * cell).item() == pytest.approx(d.entropy, abs=2.5 * tolerance)


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_classes_mix_to_the_density(name):
    d = density(name)
    points = d.sample(2_000, draws()).x.double()
    labels = [torch.full((len(points),), label) for label in range(d.classes)]
    parts = torch.stack([d.log_prob(points, y) + math.log(p) for y, p in zip(labels, d.priors, strict=True)])
    inside = d.log_prob(points) > -math.inf
    assert inside.float().mean() > 0.999  # a point on an edge may round to the other side
    assert torch.logsumexp(parts, 0)[inside].numpy() == pytest.approx(d.log_prob(points)[inside].numpy(), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_moments_the_entropy_and_the_support(name):
    d = density(name)
    x, y = d.sample(N, draws())
    mean, variance = (torch.tensor(moment) for moment in d.moments)
    error = variance.sqrt() / N**0.5
    assert ((x.mean(0) - mean).abs() < 4.5 * error).all()
    assert x.var(0).tolist() == pytest.approx(variance.tolist(), rel=0.03)
    log_p = d.log_prob(x.double())
    finite = log_p > -math.inf
    assert finite.float().mean() > 0.9999
    assert -log_p[finite].mean().item() == pytest.approx(d.entropy, abs=5 * log_p[finite].std().item() / N**0.5 + 1e-4)
    if name in UNIFORM:
        assert d.contains(x.double()).float().mean() > 0.9999
    if d.classes:
        shares = torch.bincount(y, minlength=d.classes) / N
        assert shares.tolist() == pytest.approx(d.priors, abs=0.008)
        given = d.log_prob(x.double(), y)
        given = given[given > -math.inf]
        assert -given.mean().item() == pytest.approx(d.conditional_entropy, abs=0.01)


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_balanced_points_are_equally_many_of_each_class(name):
    d = density(name)
    x, y = d.sample_balanced(300, draws())
    assert torch.bincount(y).tolist() == [300] * d.classes
    assert (d.log_prob(x.double(), y) > -math.inf).float().mean() > 0.999
    for rank in (0, 1):
        share = d.sample_balanced(300, Draws(0, "test", rank=rank, world=2))
        half = len(x) // 2
        assert torch.equal(share.x, x[rank * half : (rank + 1) * half])


def test_balanced_points_are_never_short_of_the_rarest_class():
    d = density("square")
    assert all(len(d.sample_balanced(12, Draws(0, "small", step)).x) == 60 for step in range(500))


@pytest.mark.parametrize("name", NAMES)
def test_all_but_the_square_are_standardised_and_say_so(name):
    d = density(name)
    assert d.standardised == (name != "square")
    assert ("standardised" in d.title) == d.standardised


def test_the_specs_numbers():
    square, rings, course = Square(), density("rings"), density("course_rings")
    assert square.entropy == pytest.approx(math.log(4))
    assert square.areas == pytest.approx((0.251, 0.754, 1.257, 1.384, 0.354), abs=5e-4)
    assert square.priors == pytest.approx((0.063, 0.189, 0.314, 0.346, 0.088), abs=6e-4)
    assert square.class_entropies == pytest.approx((-1.381, -0.282, 0.228, 0.325, -1.038), abs=6e-4)
    assert rings.entropy == pytest.approx(1.427, abs=5e-4)
    assert rings.conditional_entropy == pytest.approx(-0.101, abs=5e-4)
    assert course.entropy == pytest.approx(1.567, abs=6e-4)


@pytest.mark.parametrize(("schedule", "floor"), [("exp3", 0.725), ("exp5", 0.827), ("exp10", 0.913)])
def test_the_losses_floor(schedule, floor):
    times = (torch.arange(1_000, dtype=torch.float64) + 0.5) / 1_000
    assert noise_floor(SCHEDULES[schedule].sigma(times)).mean().item() == pytest.approx(floor, abs=6e-4)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5, 1.0, 3.0])
def test_the_analytic_denoiser_is_the_best_there_is(sigma):
    x = Square().sample(N, draws()).x
    noise = draws("noise").normal(N, 2)
    noised = x + sigma * noise
    best = posterior_mean(noised, torch.tensor(sigma))
    unexplained = ((best - x) / sigma).square().mean().item()
    assert unexplained == pytest.approx(noise_floor(torch.tensor([sigma])).item(), abs=0.01)
    # A posterior mean's error is uncorrelated with every function of what it saw.
    for seen in (noised, noised**2, noised.sin()):
        correlation = torch.corrcoef(torch.stack(((best - x).flatten(), seen.flatten())))[0, 1]
        assert abs(correlation) < 0.02


def test_the_analytic_denoiser_holds_far_outside_and_at_tiny_noise():
    far = torch.tensor([[30.0, -30.0], [1.001, 0.0], [-1.0, 1.0]])
    for sigma in (1e-4, 0.03, 80.0):
        mean = posterior_mean(far, torch.tensor(sigma))
        assert mean.isfinite().all()
        assert (mean.abs() <= 1).all()
    assert posterior_mean(torch.tensor([[0.3, -0.2]]), torch.tensor(1e-3))[0].tolist() == pytest.approx([0.3, -0.2])
