"""The figures of `FlowMatching`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from genlib.drawing import Drawing
from genlib.figures import clouds, paths
from genlib.figures.planes import plane_of
from genlib.figures.style import Plane
from genlib.history import History
from genlib.methods import flow_matching
from genlib.metrics import sliced_wasserstein, sliced_wasserstein_floor
from genlib.studies.flow_matching.study import FlowMatching
from genlib.studies.losses import draw_loss
from genlib.studies.points.figures import draw_inverse_paths, draw_samples, ground
from genlib.studies.points.probes import labels_of

STEP_LENGTHS = (0.2, 0.1, 0.05, 0.02, 0.002)


def draw(study: FlowMatching, model: nn.Module, history: History) -> dict[str, Drawing]:
    """Every figure of the study; those by class where it has classes."""
    drawn = {
        "loss": _loss(study, history),
        "samples": draw_samples(study, model),
        "cloud": _cloud(study, model),
        "paths": _paths(study, model),
        "step_lengths": _step_lengths(study, model),
        "inverse_paths": draw_inverse_paths(study, model),
    }
    if study.classes:
        drawn |= {
            "classes": _classes(study),
            "class_paths": _class_paths(study, model),
            "class_samples": _class_samples(study, model),
        }
    return drawn


def _loss(study: FlowMatching, history: History) -> Drawing:
    training = "velocity_mse" if study.velocity != "plain" else "loss"
    comparable = training if study.times == "uniform" else None  # else the two losses are of different times
    label = "squared error of the velocity, per coordinate"
    return draw_loss(history, label=label, training=comparable, floor=study.floor())


@torch.no_grad()
def _cloud(study: FlowMatching, model: nn.Module) -> Drawing:
    """The cloud on its way from noise to data."""
    draws, count = study.draws("figures/cloud"), min(1_000, study.samples)
    field = study.field(model, labels_of(study, count, draws))
    positions = flow_matching.path(field, draws.normal(count, 2), flow_matching.times(50))
    shown = {f"t = {t:.1f}": positions[round(50 * t)].numpy(force=True) for t in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}
    return Drawing(clouds.cloud_panels(shown, ground(study), columns=6, room=1.25), shown)


@torch.no_grad()
def _paths(study: FlowMatching, model: nn.Module) -> Drawing:
    draws = study.draws("figures/paths")
    field = study.field(model, labels_of(study, 10, draws))
    times = flow_matching.times(100)
    trajectories = flow_matching.path(field, draws.normal(10, 2), times).transpose(0, 1).numpy(force=True)
    figure = paths.timed_paths(
        trajectories, times.numpy(force=True), ground(study), title="ten paths from noise to data"
    )
    return Drawing(figure, {f"path {k}": path for k, path in enumerate(trajectories)})


@torch.no_grad()
def _step_lengths(study: FlowMatching, model: nn.Module) -> Drawing:
    """Samples from the same noise in Euler steps of several lengths."""
    draws, count = study.draws("figures/step lengths"), min(2_000, study.samples)
    real = [study.truth.sample(count, draws.fork(f"real {k}")).x for k in range(4)]
    shown, arrays = {}, {}
    for length in STEP_LENGTHS:
        variant = replace(study, solver="euler", spacing="even", sampling_steps=round(1 / length))
        x = variant.generate(model, count, draws.fork("samples"), y=labels_of(study, count, draws))
        distance = np.mean([sliced_wasserstein(x, cloud) for cloud in real])
        shown[f"Δt = {length:g}: SW {distance:.3f}"] = arrays[f"dt {length:g}"] = x.numpy(force=True)
    shown[f"data: SW {sliced_wasserstein_floor(real):.3f}"] = real[0].numpy(force=True)
    return Drawing(clouds.cloud_panels(shown, ground(study), columns=3), arrays)


def _classes(study: FlowMatching) -> Drawing:
    draws = study.draws("figures/classes")
    points = study.data().train if study.points else study.truth.sample(2_000, draws)._asdict()
    x, y = points["x"].numpy(force=True), points["y"].numpy(force=True)
    figure = clouds.class_cloud(x, y, _ground_by_class(study), title="training points", names=_names(study))
    return Drawing(figure, {"x": x, "y": y})


@torch.no_grad()
def _class_paths(study: FlowMatching, model: nn.Module) -> Drawing:
    y = torch.arange(study.classes)
    start = study.draws("figures/class paths").normal(study.classes, 2)
    trajectories = study.path(model, start, y).transpose(0, 1).numpy(force=True)
    title = "one path per class (hollow: noise, full: sample)"
    figure = paths.class_paths(trajectories, _ground_by_class(study), _names(study), title=title)
    return Drawing(figure, {f"class {label}": path for label, path in enumerate(trajectories)})


@torch.no_grad()
def _class_samples(study: FlowMatching, model: nn.Module) -> Drawing:
    count = min(3_000, study.samples)
    y = torch.arange(count) % study.classes
    x = study.generate(model, count, study.draws("figures/class samples"), y=y)
    title = "samples, equally many per class"
    figure = clouds.class_cloud(
        x.numpy(force=True), y.numpy(force=True), _ground_by_class(study), title=title, names=_names(study)
    )
    return Drawing(figure, {"x": x.numpy(force=True), "y": y.numpy(force=True)})


def _ground_by_class(study: FlowMatching) -> Plane:
    return plane_of(study.truth, classes=True)


def _names(study: FlowMatching) -> list[str]:
    return [str(label) for label in range(study.classes)]
