"""The figures that both flows on points have."""

from __future__ import annotations

from typing import Any

import torch

from genlib.drawing import Drawing
from genlib.figures import clouds, paths
from genlib.figures.planes import plane_of
from genlib.figures.style import Plane
from genlib.studies.points.probes import five_points, labels_of
from genlib.studies.points.study import PointStudy


def ground(study: PointStudy[Any]) -> Plane:
    """The plane that figures are drawn on."""
    return plane_of(study.truth)


@torch.no_grad()
def draw_samples(study: Any, model: Any) -> Drawing:
    """Three draws of samples from one model, beside the data."""
    draws, count = study.draws("figures/samples"), min(2_000, study.samples)
    shown = {"data": study.truth.sample(count, draws).x.numpy(force=True)}
    for k in range(3):
        stream = draws.fork(str(k))
        shown[f"samples, draw {k + 1}"] = study.generate(model, count, stream, y=labels_of(study, count, stream)).numpy(
            force=True
        )
    return Drawing(clouds.cloud_panels(shown, ground(study), columns=4), shown)


@torch.no_grad()
def draw_inverse_paths(study: Any, model: Any) -> Drawing:
    """Five points on their way to the noise."""
    x, y, on = five_points(study, study.draws("figures/inverse"))
    trajectories = study.path(model, x, y, inverse=True).transpose(0, 1).numpy(force=True)
    log_p = study.log_prob(model, x, y).numpy(force=True)
    figure = paths.inverse_paths(trajectories, on, log_p, ground(study))
    return Drawing(figure, {f"point {k}": path for k, path in enumerate(trajectories)} | {"log_prob": log_p})
