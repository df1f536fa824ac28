"""The metrics that every point study reports of its samples."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from genlib.data.points import PointDensity
from genlib.draws import Draws
from genlib.metrics.c2st import c2st
from genlib.metrics.coverage import coverage, leakage
from genlib.metrics.sliced_wasserstein import sliced_wasserstein, sliced_wasserstein_floor

CLOUDS = 5
"""Real clouds drawn: the distance to the samples, and the floor among themselves, are means over them."""


def sample_metrics(
    density: PointDensity, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None, draws: Draws
) -> dict[str, float]:
    """C2ST, sliced Wasserstein and its floor, coverage, leakage, against as many real points.

    Given the classes `y` of the samples (drawn with the classes' own probabilities), the C2ST sees them too, and
    `leakage/class` is the share outside the region of their own class.
    """
    clouds = [density.sample(len(x), draws.fork(f"real {k}")) for k in range(CLOUDS)]
    real = clouds[0]
    floor = sliced_wasserstein_floor([cloud.x for cloud in clouds])
    metrics = {
        "c2st": c2st(_joint(real.x, real.y if y is not None else None), _joint(x, y)),
        "sliced_wasserstein": sum(sliced_wasserstein(cloud.x, x) for cloud in clouds) / CLOUDS,
        "sliced_wasserstein_floor": floor,
        "coverage": coverage(real.x.cpu().numpy(), x.cpu().numpy()),
    }
    inside = density.contains(x)
    if inside is not None:
        metrics["leakage"] = leakage(inside)
        own = density.contains(x, y) if y is not None else None
        if own is not None:
            metrics["leakage/class"] = leakage(own)
    return metrics


def likelihood_metrics(
    density: PointDensity, log_p: Float[Tensor, " n"], y: Int[Tensor, " n"] | None
) -> dict[str, float]:
    """NLL of real points in nats, its standard error, and its gap to the true entropy; by class where `y` is given."""
    metrics = {
        "nll": -log_p.mean().item(),
        "nll_error": log_p.std().item() / len(log_p) ** 0.5,
    }
    metrics["nll_gap"] = metrics["nll"] - (density.entropy if y is None else density.conditional_entropy)
    if y is not None:
        for label, entropy in enumerate(density.class_entropies):
            mine = log_p[y == label]
            if len(mine):
                metrics[f"nll/class_{label}"] = -mine.mean().item()
                metrics[f"nll_gap/class_{label}"] = -mine.mean().item() - entropy
    return metrics


def _joint(x: Tensor, y: Tensor | None) -> np.ndarray:
    features = x if y is None else torch.cat((x, y.unsqueeze(1).to(x)), 1)
    return features.cpu().numpy()
