"""Metrics of representations on cases whose answers are known: collapsed, isotropic, two clusters, a planted hub."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from genlib import Draws
from genlib.metrics.clusters import clustering, silhouette
from genlib.metrics.neighbourhoods import auc, hubness, inverse_density, occurrences, roc
from genlib.metrics.planes import laplacian_plane, parting, pca_plane, tsne_plane
from genlib.metrics.probes import fit_probe, knn_accuracy, nearest, probe_accuracy
from genlib.metrics.spread import alignment, effective_rank, mean_std, spectrum, uniformity


@pytest.fixture
def isotropic():
    return Draws(0, "isotropic").normal(4_000, 8)


@pytest.fixture
def two_clusters():
    draws = Draws(0, "clusters")
    y = draws.integers(2, 400)
    return draws.normal(400, 8) + 12.0 * y.unsqueeze(1), y


def test_separable_classes_are_read_by_a_probe_and_by_neighbours(two_clusters):
    x, y = two_clusters
    assert probe_accuracy(x[:300], y[:300], x[300:], y[300:]) == 1
    assert knn_accuracy(x[:300] - 6, y[:300], x[300:] - 6, y[300:]) == 1


def test_shuffled_classes_are_read_at_chance(isotropic):
    y = Draws(0, "classes").integers(10, 4_000)
    assert abs(probe_accuracy(isotropic[:2_000], y[:2_000], isotropic[2_000:], y[2_000:]) - 0.1) < 0.03
    assert abs(knn_accuracy(isotropic[:2_000], y[:2_000], isotropic[2_000:], y[2_000:]) - 0.1) < 0.03


def test_a_probe_is_fitted_to_its_end(isotropic):
    y = (isotropic[:, 0] + 0.5 * Draws(0, "noise").normal(4_000) > 0).long()
    probe = fit_probe(isotropic, y, penalties=(1e-4,))
    assert probe.slope < 1e-4
    weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    scaled = (isotropic - isotropic.mean(0)) / isotropic.std(0)
    loss = functional.cross_entropy(scaled @ weight + bias, y) + 1e-4 * weight.square().sum()
    loss.backward()
    assert weight.grad.norm() < 1e-4  # a stationary point of a convex loss is its minimum
    assert probe.accuracy(isotropic, y) > 0.8


def test_many_features_of_few_rows_get_a_large_penalty_and_few_of_many_a_small_one():
    draws = Draws(0, "features")
    truth = draws.normal(200, 10)

    def read(rows, width, **how):
        x = draws.normal(rows + 1_000, width)
        y = (x[:, :200] @ truth[:width] + 3 * draws.normal(rows + 1_000, 10)).argmax(1)
        probe = fit_probe(x[:rows], y[:rows], **how)
        return probe.penalty, probe.accuracy(x[rows:], y[rows:])

    penalty, accuracy = read(500, 200)
    assert penalty >= 1e-2
    assert accuracy > 0.3
    assert read(4_000, 5)[0] <= 1e-3


def test_constant_features_are_no_trouble_to_a_probe():
    x, y = torch.ones(50, 3), torch.arange(50) % 2
    assert probe_accuracy(x, y, x, y) == 0.5


def test_collapse_is_told_by_deviation_and_rank(isotropic):
    assert mean_std(isotropic) == pytest.approx(1, abs=0.03)
    assert effective_rank(isotropic) == pytest.approx(8, abs=0.02)
    collapsed = torch.ones(100, 1) * torch.arange(1.0, 9)
    assert mean_std(collapsed) == 0
    assert effective_rank(collapsed) == 0
    line = isotropic[:, :1] * torch.arange(1.0, 9)
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(isotropic @ torch.diag(torch.tensor([1.0] * 3 + [0.0] * 5))) == pytest.approx(3, abs=0.01)


def test_the_spectrum_is_that_of_the_singular_values(isotropic):
    x = isotropic * torch.arange(1.0, 9) + 5
    expected = torch.linalg.svdvals(x - x.mean(0)) / math.sqrt(len(x))
    torch.testing.assert_close(spectrum(x), expected, rtol=1e-4, atol=1e-4)


def test_alignment_and_uniformity_on_the_sphere():
    directions = Draws(0, "sphere").normal(2_000, 3)
    assert alignment(directions, 5 * directions) == pytest.approx(0, abs=1e-6)
    assert alignment(directions, -directions) == pytest.approx(4, abs=1e-5)
    assert alignment(directions, directions.roll(1, 0)) == pytest.approx(2, abs=0.1)
    # On the unit sphere of three dimensions 2 − 2u with u uniform: the mean of exp(−4 (1 − u)) is (1 − e⁻⁸) / 8.
    assert uniformity(directions) == pytest.approx(math.log((1 - math.exp(-8)) / 8), abs=0.02)
    assert uniformity(torch.ones(50, 3)) == pytest.approx(0, abs=1e-6)


def test_odd_rows_are_found_by_density():
    draws = Draws(0, "odd")
    train, usual = draws.normal(500, 4), draws.normal(100, 4)
    odd = draws.normal(100, 4) + 20
    assert auc(inverse_density(train, odd), inverse_density(train, usual)) == 1
    assert abs(auc(inverse_density(train, usual[:50]), inverse_density(train, usual[50:])) - 0.5) < 0.12


def test_auc_is_the_area_under_roc():
    odd, usual = Draws(0, "odd").normal(300).round(decimals=1) + 0.8, Draws(0, "usual").normal(200).round(decimals=1)
    alarms, hits = roc(odd, usual)
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(hits, alarms) == pytest.approx(auc(odd, usual), abs=1e-6)


def test_a_planted_hub_is_found():
    x = Draws(0, "crowd").normal(300, 5)
    x[7] = 100
    counts = occurrences(x, k=1)
    assert counts[7] == 299
    assert counts.sum() == 300
    assert hubness(counts) > 10
    assert hubness(torch.full((10,), 5)) == 0


def test_nearest_and_farthest_are_in_order():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert nearest(x, torch.tensor([[0.9]]), 3)[1].tolist() == [[1, 0, 2]]
    assert nearest(x, torch.tensor([[0.9]]), 2, farthest=True)[1].tolist() == [[3, 2]]


def test_clusters_are_found_and_parted(two_clusters):
    x, y = (part.numpy() for part in two_clusters)
    found = clustering(x, y)
    assert found["nmi"] == found["hungarian_accuracy"] == 1
    assert found["silhouette"] > 0.7
    mixed = Draws(0, "mixed").normal(400, 8).numpy()
    assert clustering(mixed, y)["nmi"] < 0.05
    assert abs(silhouette(mixed, y)) < 0.05
    assert silhouette(mixed, np.zeros(400, int)) == 0


def test_planes_keep_clusters_apart(two_clusters):
    x, y = (part.numpy() for part in two_clusters)
    for plane in (pca_plane(x), tsne_plane(x, perplexity=20), laplacian_plane(x, k=200)):
        votes, apart = parting(plane, y)
        assert votes > 0.98
        assert apart > 0.3


def test_principal_components_have_the_largest_variances(isotropic):
    x = (isotropic * torch.tensor([1.0, 5, 1, 9, 1, 1, 1, 1])).numpy()
    plane = pca_plane(x)
    assert plane.std(0) == pytest.approx([9, 5], rel=0.03)


def test_laplacian_eigenmaps_of_a_ring_are_a_ring():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    plane = laplacian_plane(np.column_stack((np.cos(angle), np.sin(angle))), k=2)
    radius = np.linalg.norm(plane, axis=1)
    assert radius.std() / radius.mean() < 1e-6


def test_what_is_not_connected_to_the_largest_part_is_at_the_origin():
    crowd, pair = np.random.default_rng(0).normal(size=(50, 2)), np.array([[99.0, 99.0], [99.1, 99.0], [99.0, 99.1]])
    plane = laplacian_plane(np.concatenate((crowd, pair)), k=2)
    assert np.abs(plane[50:]).max() == 0
