"""Ordinary differential equations: the one integrator that diffusion, flow matching and likelihoods share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.errors import InputError

Field = Callable[[Tensor, Tensor], Tensor]
"""(x (n, …), t ()) → dx/dt (n, …)."""
FixedSolver = Literal["euler", "midpoint", "heun", "rk4"]
Solver = Literal["euler", "midpoint", "heun", "rk4", "adaptive"]


class Tableau(NamedTuple):
    """A Runge–Kutta method: kᵢ = f(x + h Σⱼ aᵢⱼkⱼ, t + cᵢh), and the step x + h Σᵢ bᵢkᵢ."""

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


FIXED: dict[str, Tableau] = {
    "euler": Tableau((0,), ((),), (1,)),
    "midpoint": Tableau((0, 1 / 2), ((), (1 / 2,)), (0, 1)),
    "heun": Tableau((0, 1), ((), (1,)), (1 / 2, 1 / 2)),
    "rk4": Tableau((0, 1 / 2, 1 / 2, 1), ((), (1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
"""The fixed solvers; a step takes one evaluation of the field per node."""

DORMAND_PRINCE = Tableau(
    (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Weights of the error of Dormand and Prince's step: fifth order minus fourth, of six slopes and that at its end."""


def step(solver: FixedSolver, field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """One step of a fixed solver from t to t + h."""
    reached, _ = _stages(FIXED[solver], lambda i, points, time: field(points, time), x, t, h)
    return reached


def trajectory(
    field: Field,
    x: Float[Tensor, "n ..."],
    times: Float[Tensor, " t"],
    solver: Solver = "rk4",
    *,
    tolerance: float = 1e-5,
) -> Iterator[Float[Tensor, "n ..."]]:
    """Yield x at every time, the given one first. Differentiable.

    A fixed solver takes one step per interval; `adaptive` (Dormand–Prince) as many as keep each step's estimated error
    below `tolerance`·(1 + |x|) in every coordinate. Times may rise or fall.
    """
    yield x
    if solver == "adaptive":
        yield from _adaptive(field, x, times, tolerance)
        return
    for t, later in zip(times[:-1], times[1:], strict=True):
        x = step(solver, field, x, t, later - t)
        yield x


def integrate(
    field: Field,
    x: Float[Tensor, "n ..."],
    times: Float[Tensor, " t"],
    solver: Solver = "rk4",
    *,
    tolerance: float = 1e-5,
) -> Float[Tensor, "n ..."]:
    """Carry x from the first time to the last: the end of its `trajectory`.

    Example:
        >>> grown = integrate(lambda x, t: x, torch.ones(1), torch.linspace(0, 1, 11))
        >>> round(grown.item(), 4)
        2.7183
    """
    (end,) = deque(trajectory(field, x, times, solver, tolerance=tolerance), maxlen=1)
    return end


def divergence(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """f(x) and its exact divergence, for f that treats rows independently: one backward pass per coordinate.

    Differentiable where gradients are on.

    Example:
        >>> value, trace = divergence(lambda x: x**2, torch.tensor([[1.0, 3.0]]))
        >>> trace.detach()
        tensor([8.])
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        points = x if differentiable and x.requires_grad else x.detach().requires_grad_()
        value = function(points)
        trace = x.new_zeros(len(x))
        if value.requires_grad:
            for i, axis in enumerate(torch.eye(x.shape[1], dtype=x.dtype, device=x.device)):
                along = axis.expand_as(value)
                (slope,) = torch.autograd.grad(
                    value, points, along, create_graph=differentiable, retain_graph=True, materialize_grads=True
                )
                trace = trace + slope[:, i]
    return (value, trace) if differentiable else (value.detach(), trace.detach())


def integrate_with_log_det(
    field: Field,
    x: Float[Tensor, "n d"],
    times: Float[Tensor, " t"],
    solver: Solver = "rk4",
    *,
    tolerance: float = 1e-5,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Carry x along the field and integrate its divergence: ln |det ∂x(end)/∂x(start)|, exact trace. Differentiable.

    The path does not depend on the divergence, which is taken only where the solver gives it weight: the midpoint rule
    asks for it once in two evaluations.
    """
    if solver == "adaptive":
        return _adaptive_with_log_det(field, x, times, tolerance)
    tableau, log_det = FIXED[solver], x.new_zeros(len(x))
    for t, later in zip(times[:-1], times[1:], strict=True):
        traces: list[Tensor] = []

        def slope(i: int, points: Tensor, time: Tensor, traces: list[Tensor] = traces) -> Tensor:
            if not tableau.weights[i]:
                traces.append(points[:, 0])  # anything: it has no weight
                return field(points, time)
            value, trace = divergence(lambda p: field(p, time), points)
            traces.append(trace)
            return value

        x, _ = _stages(tableau, slope, x, t, later - t)
        log_det = log_det + (later - t) * _combined(tableau.weights, traces)
    return x, log_det


def _adaptive_with_log_det(field: Field, x: Tensor, times: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    def augmented(state: Tensor, t: Tensor) -> Tensor:
        velocity, trace = divergence(lambda points: field(points, t), state[:, :-1])
        return torch.cat((velocity, trace.unsqueeze(1)), 1)

    state = torch.cat((x, x.new_zeros(len(x), 1)), 1)
    end = integrate(augmented, state, times, "adaptive", tolerance=tolerance)
    return end[:, :-1], end[:, -1]


def _stages(
    tableau: Tableau, slope: Callable[[int, Tensor, Tensor], Tensor], x: Tensor, t: Tensor, h: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Where one step leads, and its slopes; `slope` is given the number of the stage."""
    slopes: list[Tensor] = []
    for i, (node, weights) in enumerate(zip(tableau.nodes, tableau.stages, strict=True)):
        points = x + h * _combined(weights, slopes) if weights else x
        slopes.append(slope(i, points, t + node * h if node else t))
    return x + h * _combined(tableau.weights, slopes), slopes


def _adaptive(field: Field, x: Tensor, times: Tensor, tolerance: float) -> Iterator[Tensor]:
    """Dormand–Prince steps of a length that all rows share, kept across the intervals."""
    ends = [float(time) for time in times]
    t, h = ends[0], (ends[-1] - ends[0]) / 20
    first = field(x, times[0])
    for end in ends[1:]:
        while t != end:
            last = abs(h) >= abs(end - t)
            length = end - t if last else h
            now, long = times.new_tensor(t), times.new_tensor(length)

            def slope(i: int, points: Tensor, time: Tensor, first: Tensor = first) -> Tensor:
                return first if i == 0 else field(points, time)  # known from the step before

            reached, slopes = _stages(DORMAND_PRINCE, slope, x, now, long)
            slopes.append(field(reached, now + long))
            with torch.no_grad():
                error = length * _combined(ERROR, slopes)
                worst = float((error.abs() / (1 + reached.abs())).max()) / tolerance
            if abs(length) < 1e-9 * abs(ends[-1] - ends[0]):
                raise InputError(f"the adaptive solver stalls at t = {t:.4g}: the field is not smooth; use rk4.")
            worst = worst if math.isfinite(worst) else math.inf  # too far: a shorter step may do
            if worst <= 1:
                x, first, t = reached, slopes[-1], end if last else t + length
            if not (last and worst <= 1):  # a short last step says nothing of the length that would have done
                h = length * min(5.0, max(0.2, 0.9 * (worst + 1e-12) ** -0.2))
        yield x


def _combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Σ wᵢkᵢ over the weights that are not zero."""
    terms = [slope if weight == 1 else weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
