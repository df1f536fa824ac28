"""Flow matching against velocities that are known, and its likelihood against brute force."""

import itertools
import math

import pytest
import torch
from torch import nn

from genlib import Draws, FlowMatching, InputError
from genlib.data.points import density
from genlib.data.points.square import noise_floor
from genlib.methods import flow_matching, normal, ode
from genlib.methods.flow_matching import PlainVelocity, PreconditionedVelocity
from genlib.methods.guidance import guided
from genlib.metrics import matching_floor as matching_floor_module
from genlib.metrics import sliced_wasserstein
from genlib.metrics.matching_floor import matching_floor
from genlib.nets.mlp import MLP

STD = 0.6


def gaussian(x, t):
    """The mean velocity to a normal density of standard deviation `STD`."""
    return (STD**2 * t - (1 - t)) / ((1 - t) ** 2 + (STD * t) ** 2) * x


@pytest.mark.parametrize("solver", ["midpoint", "heun", "rk4", "adaptive"])
def test_every_solver_carries_noise_to_the_data(solver):
    z = Draws(0, "z").normal(4_000, 2)
    x = ode.integrate(gaussian, z, flow_matching.times(40), solver)
    assert torch.allclose(x, STD * z, atol=4e-3)
    assert sliced_wasserstein(x, STD * Draws(0, "other").normal(4_000, 2)) < 0.03


@pytest.mark.parametrize(
    ("solver", "spacing"), [("rk4", "even"), ("rk4", "late"), ("midpoint", "even"), ("adaptive", "even")]
)
def test_the_likelihood_of_a_known_flow(solver, spacing):
    x = Draws(0, "x").normal(200, 2)
    exact = normal.log_prob(x / STD) - 2 * math.log(STD)
    found = flow_matching.log_prob(gaussian, x, flow_matching.times(60, spacing), solver)
    assert torch.allclose(found, exact, atol=2e-3)


def field_of(seed=0, **kind):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PlainVelocity(MLP(3, 2, width=16, depth=2, **kind)).double()


def test_the_log_det_is_that_of_the_whole_maps_jacobian():
    velocity, x = field_of(), Draws(0, "x").normal(4, 2).double()
    times = flow_matching.times(200)
    log_p = flow_matching.log_prob(velocity, x, times)

    def to_noise(row):
        return ode.integrate(velocity, row.unsqueeze(0), times.flip(0).double())[0]

    for k in range(4):
        jacobian = torch.autograd.functional.jacobian(to_noise, x[k])
        z = to_noise(x[k]).unsqueeze(0)
        exact = normal.log_prob(z) + torch.linalg.slogdet(jacobian).logabsdet
        assert log_p[k].item() == pytest.approx(exact.item(), abs=1e-6)


def test_the_density_of_a_learnt_flow_integrates_to_one():
    velocity = field_of()
    for parameter in velocity.parameters():
        parameter.data *= 2
    axis = torch.linspace(-9, 9, 181, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = flow_matching.log_prob(velocity, points, flow_matching.times(30)).exp().sum() * 0.1**2
    assert mass.item() == pytest.approx(1, abs=1e-4)


def test_the_likelihood_is_differentiable_in_points_and_weights():
    velocity = field_of()
    x = Draws(0, "x").normal(3, 2).double().requires_grad_()
    times = flow_matching.times(10)
    flow_matching.log_prob(velocity, x, times).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in velocity.parameters())
    h = 1e-5
    with torch.no_grad():
        for axis in torch.eye(2, dtype=torch.float64):
            up, down = (flow_matching.log_prob(velocity, x + sign * h * axis, times) for sign in (1, -1))
            assert torch.allclose((up - down) / (2 * h), (x.grad * axis).sum(1), atol=1e-6)
        weight = velocity.net[0].weight
        before, slope = weight[0, 0].item(), weight.grad[0, 0].item()
        values = []
        for sign in (1, -1):
            weight[0, 0] = before + sign * h
            values.append(flow_matching.log_prob(velocity, x, times).sum().item())
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(slope, abs=1e-6)


def test_a_preconditioned_velocity_starts_at_that_of_a_normal_density():
    net = nn.Linear(2 + 1 + 8, 2)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    velocity = PreconditionedVelocity(net, data_std=STD)
    x = Draws(0, "x").normal(50, 2)
    for t in (0.0, 0.3, 1.0):
        assert torch.allclose(velocity(x, torch.tensor(t)), gaussian(x, t), atol=1e-6)


def test_what_is_left_to_a_preconditioned_network_has_unit_variance():
    """For normal data the best velocity is the skip alone, and the weighted loss of what it leaves is s² everywhere."""
    x, z = STD * Draws(0, "x").normal(200_000, 2), Draws(0, "z").normal(200_000, 2)
    for t in (0.02, 0.5, 0.98):
        left = (x - z) - gaussian((1 - t) * z + t * x, t)
        weight = float(flow_matching.variance(torch.tensor(t), STD))
        assert left.square().mean().item() * weight == pytest.approx(STD**2, rel=0.02)


def test_late_times_have_the_density_they_say():
    t = flow_matching.late(torch.linspace(0, 1, 100_001, dtype=torch.float64), width=0.05)
    assert (t[0], t[-1]) == pytest.approx((0, 1))
    assert (t.diff() > 0).all()
    rate = t.diff() / (1 - t[:-1] + 0.05)  # dt/du is one over the density
    assert rate.max().item() == pytest.approx(rate.min().item(), rel=1e-3)
    for spacing in ("even", "late"):
        assert flow_matching.times(7, spacing)[[0, -1]].tolist() == [0, 1]


def test_the_optimal_pairing_is_the_best_of_all():
    draws = Draws(0, "pairs")
    z, x = draws.normal(6, 2), draws.normal(6, 2)
    paired = flow_matching.optimal_pairing(z, x)
    best = min(float((z[list(order)] - x).square().sum()) for order in itertools.permutations(range(6)))
    assert float((paired - x).square().sum()) == pytest.approx(best, rel=1e-5)
    assert sorted(map(tuple, paired.tolist())) == sorted(map(tuple, z.tolist()))


def test_the_optimal_pairing_stays_within_the_classes():
    draws = Draws(0, "pairs")
    y = torch.tensor([0, 1] * 50)
    z, x = draws.normal(100, 2), draws.normal(100, 2) + 5 * y.unsqueeze(1)
    paired = flow_matching.optimal_pairing(z, x, y)
    for label in (0, 1):
        assert sorted(map(tuple, paired[y == label].tolist())) == sorted(map(tuple, z[y == label].tolist()))


@pytest.mark.parametrize("pairing", ["independent", "optimal"])
@pytest.mark.parametrize("points", [0, 50])
def test_workers_see_the_rows_of_the_one_global_batch(pairing, points):
    study = FlowMatching.preset("tiny", pairing=pairing, points=points, classes=5)
    train = study.data().train
    whole = study.batch(train, Draws(0, "train", 3))
    parts = [study.batch(train, Draws(0, "train", 3, rank=rank, world=2)) for rank in (0, 1)]
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), tensor), name


def test_optimal_pairs_lie_close():
    """Straight paths between them hardly cross."""
    independent, optimal = (
        FlowMatching.preset("tiny", pairing=pairing, batch_size=400) for pairing in ("independent", "optimal")
    )
    lengths = []
    for study in (independent, optimal):
        batch = study.batch({}, Draws(0, "train"))
        lengths.append((batch["x"] - batch["z"]).norm(dim=1).mean().item())
    assert lengths[1] < 0.6 * lengths[0]


def test_the_losses_floor():
    times = (torch.arange(2_000, dtype=torch.float64) + 0.5) / 2_000
    closed = (noise_floor((1 - times) / times) / times**2).mean().item()
    assert matching_floor("square") == pytest.approx(closed, abs=3e-3)
    assert matching_floor("rings") == pytest.approx(1.48, abs=0.01)
    assert matching_floor("rings", True) < matching_floor("rings")


@pytest.mark.parametrize("label", [None, 0])
@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_the_floor_is_the_posterior_variance(label, t):
    """Var(x − z | x_t), by the posterior over points of the density, against the grid's."""
    truth, draws = density("gaussians"), Draws(0, "floor")
    x, y = truth.sample(40_000, draws)
    x = (x if label is None else x[y == label])[:4_800]
    known, x = x[2_400:], x[:2_400]
    seen = t * x + (1 - t) * draws.fork("z").normal(len(x), 2)
    squares = torch.cdist(seen, t * known).square()
    weights = torch.softmax(-squares / (2 * (1 - t) ** 2), 1)
    mean = weights @ known
    variance = (weights @ known.square() - mean.square()).mean().item() / (1 - t) ** 2  # of u, per coordinate
    places, mass = matching_floor_module._masses(truth, label)
    assert matching_floor_module._unexplained(*places, mass, t) == pytest.approx(variance, rel=0.06)


def test_an_optimal_pairing_is_validated_as_it_is_trained():
    studies = [FlowMatching.preset("tiny", pairing=pairing, batch_size=500) for pairing in ("independent", "optimal")]
    losses = [s.validate(s.model(), Draws(0, "validate"))["validation/loss"] for s in studies]
    assert losses[1] < 0.7 * losses[0]  # the same untrained model, nearer pairs


def test_the_adaptive_solver_takes_only_the_steps_it_needs():
    study = FlowMatching.preset("tiny", solver="adaptive", sampling_steps=100)
    assert study.evaluate(study.model().eval(), Draws(0, "evaluate")).metrics["evaluations"] < 100


def test_guidance_pushes_away_from_no_class():
    study = FlowMatching.preset("tiny", classes=5, label_dropout=0.3)
    model = study.model()
    x, t, y = Draws(0, "x").normal(6, 2), torch.tensor(0.4), torch.arange(6) % 5
    free, own = model(x, t, torch.full_like(y, 5)), model(x, t, y)
    assert torch.allclose(guided(model, y, guidance=2.5, no_class=5)(x, t), free + 2.5 * (own - free), atol=1e-6)


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match=r"label_dropout: got 0\.1"):
        FlowMatching(classes=5, label_dropout=0.1, pairing="optimal")
    with pytest.raises(InputError, match="guidance: got 2"):
        FlowMatching(classes=5, guidance=2.0)
    study = FlowMatching.preset("tiny", classes=5)
    model = study.model()
    with pytest.raises(InputError, match="by class: give the class"):
        study.log_prob(model, torch.zeros(3, 2))
