"""Ordinary differential equations: the one integrator that diffusion, flow matching and likelihoods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]
"""(x (n, …), t ()) → dx/dt (n, …)."""
Solver = Literal["euler", "midpoint", "rk4"]


def euler(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """One first-order step."""
    return x + h * field(x, t)


def midpoint(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """One second-order step."""
    return x + h * field(x + h / 2 * field(x, t), t + h / 2)


def rk4(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """One classical fourth-order Runge–Kutta step."""
    k1 = field(x, t)
    k2 = field(x + h / 2 * k1, t + h / 2)
    k3 = field(x + h / 2 * k2, t + h / 2)
    k4 = field(x + h * k3, t + h)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


SOLVERS = {"euler": euler, "midpoint": midpoint, "rk4": rk4}


def integrate(
    field: Field, x: Float[Tensor, "n ..."], times: Float[Tensor, " t"], solver: Solver = "rk4"
) -> Float[Tensor, "n ..."]:
    """Carry x from the first time to the last, one step per interval. Differentiable.

    Example:
        >>> grown = integrate(lambda x, t: x, torch.ones(1), torch.linspace(0, 1, 11))
        >>> round(grown.item(), 4)
        2.7183
    """
    step = SOLVERS[solver]
    for t, later in zip(times[:-1], times[1:], strict=True):
        x = step(field, x, t, later - t)
    return x


def divergence(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """f(x) and its exact divergence, for f that treats rows independently: one forward-mode pass per coordinate.

    Example:
        >>> value, trace = divergence(lambda x: x**2, torch.tensor([[1.0, 3.0]]))
        >>> trace
        tensor([8.])
    """
    dimensions = x.shape[1]

    def directional(direction: Tensor) -> tuple[Tensor, Tensor]:
        value, derivative = torch.func.jvp(function, (x,), (direction.expand_as(x),))  # type: ignore[misc]
        return value, (derivative * direction).sum(-1)

    basis = torch.eye(dimensions, dtype=x.dtype, device=x.device)
    values, partials = torch.func.vmap(directional, out_dims=(None, 0))(basis)  # type: ignore[arg-type]
    return values, partials.sum(0)


def integrate_with_log_det(
    field: Field, x: Float[Tensor, "n d"], times: Float[Tensor, " t"], solver: Solver = "rk4"
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Carry x along the field and integrate its divergence: ln |det ∂x(end)/∂x(start)|, exact trace. Differentiable."""

    def augmented(state: Tensor, t: Tensor) -> Tensor:
        velocity, trace = divergence(lambda points: field(points, t), state[:, :-1])
        return torch.cat((velocity, trace.unsqueeze(1)), 1)

    end = integrate(augmented, torch.cat((x, x.new_zeros(len(x), 1)), 1), times, solver)
    return end[:, :-1], end[:, -1]
