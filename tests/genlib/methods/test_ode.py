"""The integrator's orders, the exact divergence, and its log-determinant against autograd's Jacobian."""

import math

import pytest
import torch

from genlib import Draws, InputError
from genlib.methods.ode import FIXED, divergence, integrate, integrate_with_log_det, trajectory
from genlib.nets.mlp import MLP


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_orders(solver, order):
    def error(steps):
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        end = integrate(lambda x, t: x * t.cos(), torch.ones(1, dtype=torch.float64), times, solver)
        return abs(end.item() - math.exp(math.sin(1)))

    assert math.log2(error(16) / error(32)) == pytest.approx(order, abs=0.25)


def test_there_and_back():
    field = MLP(2, 2, width=16, depth=1).double()
    x = torch.randn(8, 2, dtype=torch.float64)
    times = torch.linspace(0, 1, 41, dtype=torch.float64)
    there = integrate(lambda p, t: field(p), x, times)
    assert torch.allclose(integrate(lambda p, t: field(p), there, times.flip(0)), x, atol=1e-6)


def test_divergence_is_the_trace_of_the_jacobian():
    function = MLP(3, 3, width=16, depth=2)
    x = torch.randn(5, 3)
    value, trace = divergence(function, x)
    jacobians = torch.stack([torch.autograd.functional.jacobian(function, row) for row in x])
    assert torch.allclose(value, function(x), atol=1e-6)
    assert torch.allclose(trace, jacobians.diagonal(dim1=1, dim2=2).sum(1), atol=1e-5)


@pytest.mark.parametrize("solver", FIXED)
def test_log_det_is_that_of_the_whole_maps_jacobian(solver):
    field = MLP(2, 2, width=16, depth=1).double()
    times = torch.linspace(0, 1, 401, dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64)
    end, log_det = integrate_with_log_det(lambda p, t: field(p) * (1 + t), x, times, solver)

    def whole(row):
        return integrate(lambda p, t: field(p) * (1 + t), row.unsqueeze(0), times, solver)[0]

    jacobians = torch.stack([torch.autograd.functional.jacobian(whole, row) for row in x])
    tolerance = {"euler": 3e-3, "midpoint": 1e-5, "heun": 1e-5, "rk4": 1e-8}[solver]
    assert torch.allclose(log_det, torch.linalg.slogdet(jacobians).logabsdet, atol=tolerance)
    assert torch.allclose(end, torch.stack([whole(row) for row in x]))


def test_likelihoods_are_differentiable():
    field = MLP(2, 2, width=8, depth=1)
    times = torch.linspace(0, 1, 4)
    end, log_det = integrate_with_log_det(lambda p, t: field(p), torch.randn(4, 2), times)
    (end.square().sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in field.parameters())


def circle(x, t):
    """Round and round, faster with time."""
    return torch.stack((-x[:, 1], x[:, 0]), 1) * (1 + t)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_the_adaptive_solver_keeps_its_tolerance(tolerance):
    calls = []

    def counted(x, t):
        calls.append(t)
        return circle(x, t)

    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    end = integrate(counted, x, torch.tensor([0.0, 2.0], dtype=torch.float64), "adaptive", tolerance=tolerance)
    exact = torch.tensor([[math.cos(4.0), math.sin(4.0)]], dtype=torch.float64)
    assert (end - exact).abs().max() < 30 * tolerance
    assert len(calls) < 90 * (1e-3 / tolerance) ** 0.2 + 10  # a fifth-order method: steps grow as its fifth root


def test_the_adaptive_solver_stops_where_it_is_asked_to_and_goes_back():
    x = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    times = torch.tensor([0.0, 0.3, 0.31, 2.0], dtype=torch.float64)
    path = list(trajectory(circle, x, times, "adaptive", tolerance=1e-9))
    fine = list(trajectory(circle, x, torch.linspace(0, 2, 2_001, dtype=torch.float64)))
    for t, point in zip((0, 300, 310, 2_000), path, strict=True):
        assert torch.allclose(point, fine[t], atol=1e-7)
    back = integrate(circle, path[-1], times.flip(0), "adaptive", tolerance=1e-9)
    assert torch.allclose(back, x, atol=1e-7)


def test_the_adaptive_solver_shortens_a_step_that_leads_nowhere():
    x = torch.full((1, 1), 100.0, dtype=torch.float64)
    end = integrate(lambda p, t: -(p**3), x, torch.tensor([0.0, 1.0], dtype=torch.float64), "adaptive")
    assert end.item() == pytest.approx((1 / 100**2 + 2) ** -0.5, rel=1e-3)


def test_the_adaptive_solver_says_where_it_stalls():
    with pytest.raises(InputError, match="stalls at t = "):
        integrate(lambda x, t: x / (t - 1).abs().pow(1.5), torch.ones(1, 1), torch.tensor([0.0, 2.0]), "adaptive")


def test_adaptive_likelihoods_agree_with_fixed_ones():
    x = Draws(0, "x").normal(5, 2)
    fixed = integrate_with_log_det(lambda p, t: (p * t).sin(), x, torch.linspace(0, 1, 101))
    free = integrate_with_log_det(lambda p, t: (p * t).sin(), x, torch.tensor([0.0, 1.0]), "adaptive", tolerance=1e-6)
    for a, b in zip(fixed, free, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_midpoint_rule_takes_one_divergence_in_two_evaluations():
    seen = []

    def watched(x, t):
        seen.append(torch.is_grad_enabled())
        return x.sin()

    with torch.no_grad():
        integrate_with_log_det(watched, torch.ones(2, 2), torch.linspace(0, 1, 6), "midpoint")
    assert seen == [False, True] * 5
