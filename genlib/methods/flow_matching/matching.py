"""Flow matching: the loss, and what a learnt velocity is good for. All of it walks by `methods/ode`.

x_t = (1 − t)z + tx goes straight from noise (t = 0) to data (t = 1) with velocity x − z. A network that predicts it
from x_t alone learns the mean velocity at x_t, whose flow carries N(0, I) to the data. Lipman et al., *Flow matching
for generative modeling*, 2023; Liu et al., *Flow straight and fast*, 2023.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genlib.methods import normal, ode

Spacing = Literal["even", "late"]


def late(u: Float[Tensor, " n"], *, width: float) -> Float[Tensor, " n"]:
    """Times that crowd near the data: uniform numbers → t of density ∝ 1/(1 − t + width).

    The edges of a density are learnt and drawn at the end of the path, and a likelihood weighs errors by t/(1 − t).
    """
    return 1 - width * ((1 + 1 / width) ** (1 - u) - 1)


def times(steps: int, spacing: Spacing = "even") -> Float[Tensor, " t"]:
    """Times from 0 to 1 in `steps` steps: even ones, or finer towards the data.

    Example:
        >>> times(4).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    even = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return (even if spacing == "even" else late(even, width=0.1)).float()


def matching_loss(
    predicted: Float[Tensor, "n d"],
    x: Float[Tensor, "n d"],
    z: Float[Tensor, "n d"],
    weight: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity, over coordinates too; each row times its weight."""
    squares = (predicted - (x - z)).square().mean(1)
    return (squares if weight is None else squares * weight).mean()


def path(
    velocity: ode.Field,
    start: Float[Tensor, "n d"],
    times: Float[Tensor, " t"],
    solver: ode.Solver = "rk4",
    *,
    tolerance: float = 1e-5,
) -> Float[Tensor, "t n d"]:
    """Where points are at every time; from data to noise where the times fall."""
    return torch.stack(list(ode.trajectory(velocity, start, times.to(start), solver, tolerance=tolerance)))


def log_prob(
    velocity: ode.Field,
    x: Float[Tensor, "n d"],
    times: Float[Tensor, " t"],
    solver: ode.Solver = "rk4",
    *,
    tolerance: float = 1e-5,
) -> Float[Tensor, " n"]:
    """Exact log-density of the flow at data points, by the change of variables along the way to the noise.

    Differentiable, in x and in the network's parameters. `times` rise from 0 to 1.

    Example:
        >>> still = lambda x, t: torch.zeros_like(x)
        >>> round(float(log_prob(still, torch.zeros(1, 2), times(4))), 4)
        -1.8379
    """
    z, log_det = ode.integrate_with_log_det(velocity, x, times.flip(0).to(x), solver, tolerance=tolerance)
    return normal.log_prob(z) + log_det
