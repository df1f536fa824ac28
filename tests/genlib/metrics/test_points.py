"""Metrics on cases whose answers are known: equal clouds, shifted clouds, a collapsed cloud."""

import math

import numpy as np
import pytest
import torch

from genlib import Draws
from genlib.data.points import density
from genlib.metrics import c2st, coverage, leakage, sliced_wasserstein, sliced_wasserstein_floor
from genlib.metrics.codes import agreement, best_variable
from genlib.metrics.paths import path_length, turning
from genlib.metrics.points import likelihood_metrics, sample_metrics

N = 4_000


def square(stream, n=N):
    return density("square").sample(n, Draws(0, stream)).x


def test_c2st():
    real, other = square("a").numpy(), square("b").numpy()
    assert c2st(real, other) == pytest.approx(0.5, abs=0.03)
    assert c2st(real, other + 10) == 1.0
    # Shifted by s along one axis: the best classifier looks only at the two uncovered strips.
    shift = 0.5
    assert c2st(real, other + np.array([shift, 0])) == pytest.approx(0.5 + shift / 4, abs=0.03)
    assert c2st(real, np.zeros((N, 2))) > 0.99
    assert c2st(real, other) == c2st(real, other)


def test_c2st_sees_leaking_edges_and_a_missing_corner():
    real, other = square("a", 10_000).numpy(), square("b", 10_000).numpy()
    leaking = other * 1.05
    missing = other[~((other > 0.5).all(1))]
    assert c2st(real, leaking) > 0.52
    assert c2st(real[: len(missing)], missing) > 0.515


@pytest.mark.parametrize("dimensions", [2, 5])
def test_sliced_wasserstein(dimensions):
    x = torch.randn(N, dimensions, generator=torch.Generator().manual_seed(0))
    shift = torch.zeros(dimensions)
    shift[0] = 3.0
    assert sliced_wasserstein(x, x) == 0
    mean_cosine = math.gamma(dimensions / 2) / (math.sqrt(math.pi) * math.gamma((dimensions + 1) / 2))
    assert sliced_wasserstein(x, x + shift) == pytest.approx(3 * mean_cosine, rel=0.001 if dimensions == 2 else 0.2)
    # A standard normal against its collapse to the mean: E|z| along every direction.
    assert sliced_wasserstein(x, torch.zeros_like(x)) == pytest.approx(math.sqrt(2 / math.pi), rel=0.05)


def test_the_floor_is_what_real_clouds_show():
    clouds = [square(str(k)) for k in range(4)]
    floor = sliced_wasserstein_floor(clouds)
    assert 0.3 / N**0.5 < floor < 2 / N**0.5
    assert sliced_wasserstein(clouds[0], square("other")) < 3 * floor
    assert sliced_wasserstein(clouds[0], 1.1 * square("other")) > 2.5 * floor


def test_coverage():
    real, other = square("a").numpy(), square("b").numpy()
    assert coverage(real, other) == pytest.approx(1 - 2**-5, abs=0.015)
    assert coverage(real, np.zeros((N, 2))) < 0.01
    assert coverage(real, np.abs(other)) == pytest.approx(0.25, abs=0.05)


def test_leakage_and_the_points_metrics():
    d = density("square")
    inside = d.contains(1.25 * square("a"))
    assert leakage(inside) == pytest.approx(1 - 0.8**2, abs=0.02)
    metrics = sample_metrics(d, *d.sample(N, Draws(0, "x")), Draws(0, "m"))
    assert metrics["leakage"] == metrics["leakage/class"] == 0
    assert metrics["c2st"] == pytest.approx(0.5, abs=0.03)
    assert "leakage" not in sample_metrics(
        density("spiral"), density("spiral").sample(N, Draws(0, "x")).x, None, Draws(0, "m")
    )


def test_points_given_the_wrong_class_are_noticed():
    d = density("square")
    x, y = d.sample(N, Draws(0, "x"))
    metrics = sample_metrics(d, x, (y + 1) % 5, Draws(0, "m"))
    assert metrics["c2st"] > 0.9
    assert metrics["leakage"] == 0
    assert metrics["leakage/class"] == 1


def test_nll_of_the_truth_has_no_gap():
    d = density("square")
    x, y = d.sample(N, Draws(0, "x"))
    assert likelihood_metrics(d, d.log_prob(x), None)["nll_gap"] == pytest.approx(0, abs=1e-6)
    metrics = likelihood_metrics(d, d.log_prob(x, y), y)
    assert all(metrics[f"nll_gap/class_{label}"] == pytest.approx(0, abs=1e-5) for label in range(5))


def test_length_and_turning_of_a_circle_and_of_a_staircase():
    angle = torch.linspace(0, 2 * math.pi, 2_001, dtype=torch.float64)
    circle = 3 * torch.stack((angle.cos(), angle.sin()), -1).unsqueeze(1)  # (t, 1, 2)
    assert path_length(circle).item() == pytest.approx(6 * math.pi, rel=1e-4)
    assert turning(circle).item() == pytest.approx(2 * math.pi, rel=1e-3)
    stairs = torch.tensor([[0.0, 0], [1, 0], [1, 1], [2, 1], [2, 1], [2, 2]]).unsqueeze(1)  # one step stands still
    assert path_length(stairs).item() == pytest.approx(4)
    assert turning(stairs).item() == pytest.approx(3 * math.pi / 2)
    assert turning(torch.tensor([[0.0, 0], [1, 1], [5, 5]]).unsqueeze(1)).item() == pytest.approx(0, abs=1e-3)


def test_codes_that_know_all_something_and_nothing():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 5_000)
    renamed = (classes * 3 + 1) % 10
    half = np.where(rng.random(5_000) < 0.5, renamed, rng.integers(0, 10, 5_000))
    noise = rng.integers(0, 10, 5_000)
    assert agreement(renamed, classes) == (pytest.approx(1), 1)
    nmi, accuracy = agreement(half, classes)
    assert 0.2 < nmi < 0.5
    assert accuracy == pytest.approx(0.55, abs=0.03)
    assert agreement(noise, classes)[0] < 0.01
    assert agreement(noise, classes)[1] < 0.14
    assert best_variable(np.column_stack((noise, half, renamed)), classes) == (2, pytest.approx(1), 1)


def test_codes_of_fewer_categories_than_classes():
    assert agreement(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]))[1] == 0.5
