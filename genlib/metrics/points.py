"""The metrics that every point study reports of its samples."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from genlib.data.points import PointDensity, Points
from genlib.draws import Draws
from genlib.metrics.c2st import c2st
from genlib.metrics.coverage import coverage, leakage
from genlib.metrics.sliced_wasserstein import sliced_wasserstein, sliced_wasserstein_floor

CLOUDS = 5
"""Number of real clouds: the distance to the samples, and the floor among real clouds, are means over them."""


def sample_metrics(
    density: PointDensity, x: Float[Tensor, "n 2"], y: Int[Tensor, " n"] | None, draws: Draws
) -> dict[str, float]:
    """C2ST, sliced Wasserstein and its floor, coverage, leakage of samples, against as many real points.

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
    """NLL of real points in nats, its standard error, and its gap to the true entropy.

    Given classes, these metrics for each class too; the overall ones are then means under the classes' probabilities.
    """
    if y is None:
        nll, error = _nll(log_p)
        return {"nll": nll, "nll_error": error, "nll_gap": nll - density.entropy}
    by_class = [_nll(log_p[y == label]) for label in range(density.classes)]
    nll = sum(prior * nll for prior, (nll, _) in zip(density.priors, by_class, strict=True))
    error = sum((prior * error) ** 2 for prior, (_, error) in zip(density.priors, by_class, strict=True)) ** 0.5
    metrics = {"nll": nll, "nll_error": error, "nll_gap": nll - density.conditional_entropy}
    for label, ((class_nll, class_error), entropy) in enumerate(zip(by_class, density.class_entropies, strict=True)):
        metrics[f"nll/class_{label}"] = class_nll
        metrics[f"nll_error/class_{label}"] = class_error
        metrics[f"nll_gap/class_{label}"] = class_nll - entropy
    return metrics


def likelihood_points(density: PointDensity, count: int, draws: Draws, by_class: bool) -> Points:
    """Real points whose likelihood is taken; `by_class` equally many of each, so that rare ones are measured too."""
    if not by_class:
        return Points(density.sample(count, draws).x, None)
    return density.sample_balanced(max(2, count // density.classes), draws)


def _nll(log_p: Tensor) -> tuple[float, float]:
    return -log_p.mean().item(), log_p.std().item() / len(log_p) ** 0.5


def _joint(x: Tensor, y: Tensor | None) -> np.ndarray:
    features = x if y is None else torch.cat((x, y.unsqueeze(1).to(x)), 1)
    return features.cpu().numpy()
