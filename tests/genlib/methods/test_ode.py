"""The integrator's orders, the exact divergence, and its log-determinant against autograd's Jacobian."""

import math

import pytest
import torch

from genlib.methods.ode import FIXED, divergence, integrate, integrate_with_log_det
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
