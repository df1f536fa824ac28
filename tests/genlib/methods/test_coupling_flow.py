"""The laws of flows, over both couplings, with classes and without, in the plane and above it."""

import copy
import math

import pytest
import torch
from torch import nn

from genlib.methods.coupling_flow import Affine, CouplingLayers, Spline
from genlib.nets.mlp import MLP, FourierFeatures, StackedMLP

CLASSES, SIZE = 3, 4


def make(transform, *, dimensions=2, classes=False, features=False, layers=5):
    """A flow far from the identity, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        half = dimensions // 2
        seen = FourierFeatures(half, 3, scale=0.5) if features else None
        inputs = (seen.outputs if seen else half) + (SIZE if classes else 0)
        nets = StackedMLP(layers, inputs, half * transform.size, width=16, depth=2)
        for tensor in (*nets.weights, *nets.biases):
            tensor.data *= 1.7
        labels = nn.Embedding(CLASSES, SIZE) if classes else None
        return CouplingLayers(transform, nets, features=seen, labels=labels).double()


KINDS = {
    "affine": {"transform": Affine(bound=1.5)},
    "affine by class": {"transform": Affine(), "classes": True},
    "affine in four dimensions": {"transform": Affine(), "dimensions": 4},
    "spline": {"transform": Spline(bins=5, reach=3.0)},
    "spline by class": {"transform": Spline(bins=8, reach=3.0), "classes": True, "features": True},
    "spline in four dimensions": {"transform": Spline(bins=4, reach=3.0), "dimensions": 4},
}


@pytest.fixture(params=KINDS)
def case(request):
    """A flow, points (some beyond a spline's reach) and their classes."""
    kind = KINDS[request.param]
    generator = torch.Generator().manual_seed(1)
    x = 1.6 * torch.randn(64, kind.get("dimensions", 2), generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (64,), generator=generator) if kind.get("classes") else None
    return make(**kind), x, y


def test_inverses_invert(case):
    flow, x, y = case
    z, log_det = flow.to_latent(x, y)
    back, there = flow.to_data(z, y)
    assert not torch.allclose(z, x, atol=0.1)
    assert torch.allclose(back, x, atol=1e-7)
    assert torch.allclose(there, -log_det, atol=1e-7)


def test_log_dets_are_those_of_autograds_jacobian(case):
    flow, x, y = case
    for through in (flow.to_latent, flow.to_data):
        _, log_det = through(x[:8], None if y is None else y[:8])
        for k in range(8):
            label = None if y is None else y[k : k + 1]

            def one(row, label=label, through=through):
                return through(row.unsqueeze(0), label)[0][0]

            jacobian = torch.autograd.functional.jacobian(one, x[k])
            assert log_det[k].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)


def test_forward_is_the_density_by_the_change_of_variables(case):
    flow, x, y = case
    z, log_det = flow.to_latent(x, y)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    assert torch.allclose(flow(x, y), normal + log_det)


@pytest.mark.parametrize("kind", ["affine", "affine by class", "spline", "spline by class"])
def test_densities_integrate_to_one(kind):
    flow = make(**KINDS[kind])
    # The image of a wide square of noise holds all of the mass: a grid over it, its cells measured by the Jacobian, …
    axis = (torch.arange(120, dtype=torch.float64) + 0.5) / 120 * 14 - 7
    z = torch.cartesian_prod(axis, axis)
    y = torch.zeros(len(z), dtype=torch.long) if KINDS[kind].get("classes") else None
    x, log_det = flow.to_data(z, y)
    mass = (flow(x, y) + log_det).exp().sum() * (14 / 120) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-6)
    # … and, knowing nothing of the flow, a grid over the data.
    wide = torch.linspace(-8, 8, 501, dtype=torch.float64)
    points = torch.cartesian_prod(wide, wide)
    with torch.no_grad():
        total = flow(points, None if y is None else y[:1].expand(len(points))).exp().sum()
    assert total.item() * (16 / 500) ** 2 == pytest.approx(1, abs=0.05)


def test_gradients_reach_every_parameter(case):
    flow, x, y = case
    if y is not None:
        y = torch.arange(len(x)) % CLASSES
    flow(x, y).mean().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_each_layer_moves_one_half_and_the_path_ends_at_the_sample(case):
    flow, x, y = case
    for inverse, through in ((True, flow.to_latent), (False, flow.to_data)):
        path = flow.path(x, y, inverse=inverse)
        assert torch.equal(path[0], x)
        assert torch.equal(path[-1], through(x, y)[0])
        halves = torch.stack([half.abs().amax((1, 2)) for half in path.diff(dim=0).chunk(2, -1)])  # (2, layers)
        assert (halves.min(0).values == 0).all()
        assert (halves.max(0).values > 0).all()


def test_a_flow_is_saved_and_loaded(case):
    flow, x, y = case
    other = copy.deepcopy(flow)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not torch.allclose(other(x, y), flow(x, y))
    other.load_state_dict(flow.state_dict())
    assert torch.equal(other(x, y), flow(x, y))


def test_an_affine_scale_stays_within_its_bound():
    raw = torch.full((3, 2), 1e6)
    assert Affine(bound=1.5).to_data(torch.ones(3, 1), raw)[1].max() == pytest.approx(1.5)
    assert Affine(bound=1.5).to_latent(torch.ones(3, 1), raw)[1].min() == pytest.approx(-1.5)


def test_a_spline_rises_is_smooth_and_leaves_the_rest_alone():
    spline = Spline(bins=6, reach=2.0)
    raw = torch.randn(1, spline.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = torch.linspace(-4, 4, 20_001, dtype=torch.float64).unsqueeze(1)
    x, log_slope = spline.to_data(z, raw.expand(len(z), -1))
    assert (x.diff(dim=0) > 0).all()
    outside = z.abs() > 2
    assert torch.equal(x[outside], z[outside])
    assert log_slope[outside].abs().max() == 0
    measured = (x.diff(dim=0) / z.diff(dim=0)).log()  # by differences, and continuous over the knots
    assert torch.allclose(measured, (log_slope[1:] + log_slope[:-1]) / 2, atol=0.02)


def test_gradients_of_a_spline_are_finite_at_its_very_knots():
    """Where float32 cancels, the discriminant of the inverse may round to nothing or less."""
    spline = Spline(bins=8, reach=3.0)
    raw = (3 * torch.randn(4_000, spline.size, generator=torch.Generator().manual_seed(0))).requires_grad_()
    _, knots, _ = spline._knots(raw, torch.zeros(4_000, 1))
    x = torch.nextafter(knots.detach()[:, 0, 1:-1], torch.tensor(-4.0)).gather(1, torch.arange(4_000)[:, None] % 7)
    z, log_slope = spline.to_latent(x, raw)
    (z.sum() + log_slope.sum()).backward()
    assert raw.grad.isfinite().all()


def test_stacked_perceptrons_compute_what_single_ones_do():
    for activation in ("relu", "leaky_relu", "silu", "gelu"):
        stacked = StackedMLP(3, 2, 4, width=8, depth=2, activation=activation)
        x = torch.randn(5, 2)
        for k, net in enumerate(stacked.each()):
            single = MLP(2, 4, width=8, depth=2, activation=activation)
            for number, layer in enumerate(layer for layer in single if isinstance(layer, nn.Linear)):
                layer.weight.data, layer.bias.data = stacked.weights[number][k], stacked.biases[number][k]
            assert torch.allclose(net(x), single(x), atol=1e-6)


def test_the_last_layer_starts_as_small_as_asked():
    torch.manual_seed(0)
    nets = StackedMLP(2, 1, 2, width=8, depth=1, last=0.01)
    assert 0 < nets.weights[-1].abs().max() < 0.01 / math.sqrt(8) + 1e-6
