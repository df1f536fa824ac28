"""Distances and overlaps of sets whose answers are known."""

import pytest
import torch

from genlib import Draws
from genlib.metrics.image_sets import frechet, overlap


@pytest.fixture
def normal():
    draws = Draws(0, "sets")
    return draws.normal(3_000, 4), draws.normal(3_000, 4)


def test_equal_sets_are_no_distance_apart(normal):
    x, other = normal
    assert abs(frechet(x, x)) < 1e-6
    assert 0 < frechet(x, other) < 0.02
    assert overlap(x, x) == (1.0, 1.0)
    assert min(overlap(x, other)) > 0.9


def test_a_shift_and_a_stretch_have_the_distances_of_the_formula(normal):
    x, _ = normal
    assert frechet(x, x + 2) == pytest.approx(16, rel=1e-6)
    spread = x.var(0).sum().item()
    assert frechet(x, 3 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(4 * spread, rel=1e-4)


def test_the_distance_of_two_normals_with_covariances_that_do_not_commute(normal):
    x, _ = normal
    turn = Draws(1, "turn").normal(4, 4).double()
    y = x.double() @ turn
    a, b = torch.cov(x.double().T), torch.cov(y.T)
    product = torch.linalg.eigvals(a @ b).real.clamp_min(0).sqrt().sum()
    apart = (x.double().mean(0) - y.mean(0)).square().sum()
    assert frechet(x, y) == pytest.approx(float(apart + a.trace() + b.trace() - 2 * product), rel=1e-8)


def test_far_sets_do_not_overlap(normal):
    x, other = normal
    assert overlap(x, other + 100) == (0.0, 0.0)


def test_one_mode_of_two_is_precise_and_recalls_half():
    draws = Draws(0, "modes")
    real = torch.cat((draws.normal(500, 3), draws.normal(500, 3) + 50))
    found = overlap(real, draws.normal(1_000, 3))
    assert found.precision > 0.95
    assert 0.4 < found.recall < 0.55


def test_memorised_rows_are_precise_and_recall_little(normal):
    x, _ = normal
    found = overlap(x, x[:10].repeat(20, 1))
    assert found.precision == 1
    assert found.recall < 0.05
