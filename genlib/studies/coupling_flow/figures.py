"""The figures of `CouplingFlow`."""

from __future__ import annotations

import numpy as np
import torch

from genlib.drawing import Drawing
from genlib.figures import clouds, curves, paths
from genlib.history import History
from genlib.methods.coupling_flow import CouplingLayers
from genlib.studies.coupling_flow.study import CouplingFlow
from genlib.studies.points.figures import draw_inverse_paths, draw_samples, ground
from genlib.studies.points.probes import labels_of


def draw(study: CouplingFlow, model: CouplingLayers, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    return {
        "loss": _loss(study, history),
        "samples": draw_samples(study, model),
        "layers": _layers(study, model),
        "paths": _paths(study, model),
        "inverse_paths": draw_inverse_paths(study, model),
    }


def _loss(study: CouplingFlow, history: History) -> Drawing:
    names = ("validation/loss", "validation/log_det", "validation/log_prob_z")
    steps = history.series(names[0])[0]
    loss, log_det, log_z = (history.series(name)[1] for name in names)
    figure = curves.likelihood_terms(steps, loss, log_det, log_z, floor=study.floor)
    return Drawing(figure, {"validation": np.column_stack((steps, loss, log_det, log_z))})


@torch.no_grad()
def _layers(study: CouplingFlow, model: CouplingLayers) -> Drawing:
    """A cloud of noise after every few layers."""
    draws, count = study.draws("figures/layers"), min(1_000, study.samples)
    positions = study.path(model, draws.normal(count, 2), labels_of(study, count, draws))
    places = sorted({round(share * study.layers) for share in np.linspace(0, 1, 8)})
    names = {0: "noise", study.layers: f"after layer {study.layers}"}
    shown = {names.get(k, f"after layer {k}"): positions[k].numpy(force=True) for k in places}
    return Drawing(clouds.cloud_panels(shown, ground(study), columns=4, room=1.25), shown)


@torch.no_grad()
def _paths(study: CouplingFlow, model: CouplingLayers) -> Drawing:
    draws = study.draws("figures/paths")
    trajectories = study.path(model, draws.normal(10, 2), labels_of(study, 10, draws)).transpose(0, 1).numpy(force=True)
    figure = paths.layer_paths(trajectories, ground(study), title=f"ten points through {study.layers} layers")
    return Drawing(figure, {f"path {k}": path for k, path in enumerate(trajectories)})
