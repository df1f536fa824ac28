"""VICReg's terms against the paper's pseudo-code, written out; and over workers."""

import pytest
import torch

from genlib import Draws
from genlib.methods import vicreg


def pseudo_code(a, b):
    """The paper's appendix, with variance and covariance summed over the two branches."""
    n, d = a.shape
    invariance = ((a - b) ** 2).mean()
    variance, covariance = 0.0, 0.0
    for z in (a, b):
        std = torch.sqrt(z.var(0) + 1e-4)
        variance = variance + torch.clamp(1 - std, min=0).mean()
        centred = z - z.mean(0)
        cov = centred.T @ centred / (n - 1)
        covariance = covariance + (cov - torch.diag(torch.diag(cov))).pow(2).sum() / d
    return {"invariance": invariance, "variance": variance, "covariance": covariance}


@pytest.fixture
def pair():
    draws = Draws(0, "pair")
    a = draws.normal(32, 5) * torch.tensor([0.1, 0.5, 1.0, 2.0, 0.0])
    return a, a + 0.3 * draws.normal(32, 5)


def test_terms_are_those_of_the_paper(pair):
    for name, value in pseudo_code(*pair).items():
        torch.testing.assert_close(vicreg.terms(list(pair))[name], value)


def test_gradients_are_those_of_the_paper(pair):
    for name in pseudo_code(*pair):
        found, expected = [], []
        for terms, into in ((vicreg.terms, found), (lambda views: pseudo_code(*views), expected)):
            views = [z.clone().requires_grad_() for z in pair]
            terms(views)[name].backward()
            into.extend(z.grad for z in views)
        torch.testing.assert_close(found, expected)


def test_agreement_of_several_views_is_the_mean_over_pairs(pair):
    views = [*pair, 2 * pair[0], pair[1] - 1]
    pairs = [(i, j) for i in range(4) for j in range(i)]
    expected = torch.stack([vicreg.invariance([views[i], views[j]]) for i, j in pairs]).mean()
    torch.testing.assert_close(vicreg.invariance(views), expected)


def test_one_point_has_no_variance_left_to_lose():
    collapsed = torch.zeros(16, 3)
    terms = vicreg.terms([collapsed, collapsed])
    assert terms["invariance"] == terms["covariance"] == 0
    assert terms["variance"].item() == pytest.approx(2 * (1 - 1e-2), abs=1e-6)


def test_independent_dimensions_of_the_target_s_deviation_cost_nothing():
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * 2
    terms = vicreg.terms([z, z])
    assert all(value == 0 for value in terms.values())
