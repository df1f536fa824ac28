"""log p(x|c) at chosen points of the square with its radial classes, three ways."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from genlib.draws import Draws
from genlib.methods import diffusion

if TYPE_CHECKING:
    from genlib.studies.point_diffusion import PointDiffusion

PROBES: tuple[tuple[str, tuple[float, float], int], ...] = (
    ("inside class 0", (0.1, 0.1), 0),
    ("inside class 2", (0.5, 0.5), 2),
    ("class 2, point of class 0", (0.0, 0.0), 2),
    ("class 0, point of class 3", (0.7, 0.6), 0),
    ("class 4, point of class 1", (0.3, 0.3), 4),
    ("class 2, outside the square", (1.3, 0.0), 2),
    ("corner, class 4", (0.9, 0.9), 4),
    ("corner, class 3", (0.9, 0.9), 3),
)
"""Name, point, class: inside the class, inside the data but another class, outside the data, one corner twice."""


def log_prob_table(study: PointDiffusion, model: nn.Module, draws: Draws) -> list[dict[str, Any]]:
    """log p(x|c) at chosen points of the square: exact, bound with error, truth; `PROBES` says which and why."""
    x = torch.tensor([probe[1] for probe in PROBES], device=draws.device)
    y = torch.tensor([probe[2] for probe in PROBES], device=draws.device)
    exact = study.log_prob(model, x, y)
    # The flow has no sampling error; what it has is the integrator's, told by halving the steps.
    coarse = replace(study, likelihood_steps=max(1, study.likelihood_steps // 2)).log_prob(model, x, y)
    rows = []
    for k, (name, point, label) in enumerate(PROBES):
        bound = diffusion.variational_bound(
            study.predictor(model, y[k : k + 1].expand(study.bound_draws)),
            x[k : k + 1],
            draws.fork(name),
            lowest=study.noise.lowest,
            highest=study.noise.highest,
            start=study.start_at(study.noise.highest, y[k : k + 1]),
            samples=study.bound_draws,
        )
        rows.append(
            {
                "point": name,
                "x1": point[0],
                "x2": point[1],
                "class": label,
                "log_prob": exact[k].item(),
                "log_prob_error": (exact[k] - coarse[k]).abs().item(),
                "bound": -bound.total.item(),
                "bound_error": bound.error.item(),
                "truth": study.truth.log_prob(x[k : k + 1], y[k : k + 1]).item(),
            }
        )
    return rows
