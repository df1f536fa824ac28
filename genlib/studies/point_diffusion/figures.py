"""The figures of `PointDiffusion`: what the trained model does, as pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genlib.data.points import Square
from genlib.drawing import Drawing
from genlib.draws import Draws
from genlib.figures import clouds, curves, paths
from genlib.figures.planes import plane_of
from genlib.figures.style import Plane
from genlib.history import History
from genlib.methods import diffusion
from genlib.metrics import sliced_wasserstein, sliced_wasserstein_floor
from genlib.metrics.points import likelihood_points
from genlib.studies.losses import draw_loss
from genlib.studies.point_diffusion.study import PointDiffusion, log_prob_table

STEP_COUNTS = (2, 5, 10, 20, 100, 1000)
PERTURBATIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
EXAMPLE = (-0.2, -1.0)
"""The point whose way into noise and back is shown."""


def draw(study: PointDiffusion, model: nn.Module, history: History) -> dict[str, Drawing]:
    """Every figure of the study; those by class where it has classes."""
    plane = plane_of(study.truth)
    view = _View(study, model, plane, min(1_000, study.samples))
    drawn = {"loss": _loss(study, history)}
    makers: dict[str, Callable[[_View, Draws], Drawing]] = {
        "forward_and_reverse": _forward_and_reverse,
        "one_step_denoising": _one_step,
        "samples": _samples,
        "sampling_steps": _sampling_steps,
        "schedules": _schedules,
        "one_noise": _one_noise,
        "reverse_paths": _reverse_paths,
        "starting_variance": _starts,
    }
    if study.classes:
        makers |= {"classes": _classes, "class_paths": _class_paths, "class_samples": _class_samples}
        if study.radial:
            makers |= {"class_likelihoods": _class_likelihoods, "point_likelihoods": _point_likelihoods}
    for name, make in makers.items():
        drawn[name] = make(view, study.draws(f"figures/{name}"))
    return drawn


class _View:
    """The study and its model with everything a figure asks of them, as arrays."""

    def __init__(self, study: PointDiffusion, model: nn.Module, plane: Plane, count: int) -> None:
        self.study, self.model, self.plane, self.count = study, model, plane, count

    def classes(self, draws: Draws, count: int) -> Tensor | None:
        """Classes in the data's own proportions; None for a study without classes."""
        return self.study.truth.sample(count, draws.fork("classes")).y if self.study.classes else None

    def generate(self, draws: Draws, count: int, **fields: Any) -> np.ndarray:
        """Samples, with some evaluation fields changed."""
        study = replace(self.study, **fields)
        return study.generate(self.model, count, draws, y=self.classes(draws, count)).numpy(force=True)

    def path(
        self,
        start: Tensor,
        draws: Draws,
        *,
        steps: int = 100,
        sampler: diffusion.SamplerName | None = None,
        y: Tensor | None = None,
    ) -> np.ndarray:
        """Reverse paths from given starts: (starts, steps + 1, 2)."""
        y = y if y is not None else self.classes(draws, len(start))
        step = diffusion.SAMPLERS[sampler or "ddim"]
        trajectories = diffusion.path(
            self.study.predictor(self.model, y), start, self.study.noise.sigmas(steps), draws, step
        )
        return trajectories.transpose(0, 1).numpy(force=True)


def _loss(study: PointDiffusion, history: History) -> Drawing:
    training = "loss" if study.weighting == "noise" else "noise_mse"
    label = "squared error of the noise, per coordinate"
    return draw_loss(history, label=label, training=training, floor=study.floor())


def _forward_and_reverse(view: _View, draws: Draws) -> Drawing:
    steps = 200
    point, label = torch.tensor([EXAMPLE]), None
    if view.study.radial:
        label = Square().label(point)
    elif view.study.density != "square":  # the example means nothing here: take one of the data's own points
        point, label = view.study.truth.sample(1, draws.fork("example"))
    sigmas = view.study.noise.sigmas(steps).flip(0)
    increments = torch.cat((sigmas[:1], (sigmas[1:].square() - sigmas[:-1].square()).sqrt()))
    forward = point + (increments.unsqueeze(1) * draws.normal(len(increments), 2)).cumsum(0)
    back = view.path(forward[-1:], draws, steps=steps, y=label)[0]
    times = np.linspace(0, 1, steps + 1)
    figure = paths.forward_reverse(forward.numpy(force=True), back, times, view.plane)
    return Drawing(figure, {"forward": forward.numpy(force=True), "reverse": back})


def _one_step(view: _View, draws: Draws) -> Drawing:
    x, y = view.study.truth.sample(view.count, draws)
    sigma = torch.tensor(math.sqrt(view.study.noise.lowest * view.study.noise.highest) ** 0.5)
    noised = x + sigma * draws.normal(len(x), 2)
    with torch.no_grad():
        denoised = noised - sigma * view.study.predictor(view.model, y)(noised, sigma)
    arrays = {"data": x.numpy(force=True), "noised": noised.numpy(force=True), "denoised": denoised.numpy(force=True)}
    return Drawing(clouds.overlay(**arrays, plane=view.plane, sigma=float(sigma)), arrays)


def _samples(view: _View, draws: Draws) -> Drawing:
    grid = {f"draw {k + 1}": view.generate(draws.fork(str(k)), view.count) for k in range(9)}
    return Drawing(clouds.cloud_panels(grid, view.plane), grid)


def _sampling_steps(view: _View, draws: Draws) -> Drawing:
    real = [view.study.truth.sample(view.count, draws.fork(f"real {k}")).x for k in range(4)]
    shown, arrays = {}, {}
    for steps in STEP_COUNTS:
        x = view.generate(draws, view.count, sampling_steps=steps)
        distance = float(np.mean([sliced_wasserstein(torch.as_tensor(x), other) for other in real]))
        shown[f"T = {steps}: SW {distance:.3f}"] = x
        arrays[f"T={steps}"] = x
    shown[f"data: SW {sliced_wasserstein_floor(real):.3f}"] = real[0].numpy(force=True)
    return Drawing(clouds.cloud_panels(shown, view.plane, columns=4), arrays)


def _schedules(view: _View, draws: Draws) -> Drawing:
    """Equally many steps in the shape of every schedule, between the noise levels that this model was trained on."""
    study = view.study
    sigmas, shown, notes = {}, {}, {}
    real = [study.truth.sample(view.count, draws.fork(f"real {k}")).x for k in range(4)]
    noise = draws.normal(view.count, 2)
    y = view.classes(draws, view.count)
    for name, schedule in diffusion.SCHEDULES.items():
        levels = _within(schedule, study.noise.lowest, study.noise.highest, study.sampling_steps)
        start = study.start_at(float(levels[0]), y if study.classes else None)
        x = diffusion.sample(study.predictor(view.model, y), start.place(noise), levels, draws)
        title = name + (" (trained)" if name == study.schedule else "")
        sigmas[title], shown[title] = levels.numpy(force=True), x.numpy(force=True)
        notes[title] = f"SW {np.mean([sliced_wasserstein(x, cloud) for cloud in real]):.3f}"
    floor = sliced_wasserstein_floor(real)
    return Drawing(
        curves.schedule_panels(sigmas, shown, notes, view.plane, floor=floor),
        {**{f"sigma {k}": v for k, v in sigmas.items()}, **shown},
    )


def _within(schedule: diffusion.Schedule, lowest: float, highest: float, steps: int) -> Tensor:
    """A schedule's σ at equal steps of its own t, over the part of it that lies within the given levels."""
    t = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    sigma = schedule.sigma(t)
    inside = t[(sigma >= lowest * (1 - 1e-6)) & (sigma <= highest * (1 + 1e-6))]
    return schedule.sigma(torch.linspace(float(inside[-1]), float(inside[0]), steps + 1, dtype=torch.float64)).float()


def _one_noise(view: _View, draws: Draws) -> Drawing:
    y = view.classes(draws, 1)
    start = view.study.first_noise(draws, 1, y)
    # Ten separate runs, so that agreement is found and not built in.
    runs = np.concatenate([view.path(start, draws.fork(str(k)), y=y) for k in range(10)])
    return Drawing(paths.one_noise(runs, np.linspace(1, 0, runs.shape[1]), view.plane), {"end_points": runs[:, -1]})


def _reverse_paths(view: _View, draws: Draws) -> Drawing:
    label = view.classes(draws, 1)
    start = view.study.first_noise(draws, 1, label)
    y = None if label is None else label.expand(4)
    direction = torch.nn.functional.normalize(draws.normal(4, 2), dim=1)
    groups = {
        "one start": view.path(start.repeat(4, 1), draws, y=y),
        "starts perturbed by 0.3": view.path(start + 0.3 * direction, draws, y=y),
        "one start, stochastic sampler": view.path(start.repeat(4, 1), draws, sampler="ancestral", y=y),
    }
    spreads = end_point_spreads(view, draws)
    figure = paths.path_groups(groups, view.plane, np.array(PERTURBATIONS), spreads)
    arrays = {name: group[:, -1] for name, group in groups.items()}
    return Drawing(figure, {**arrays, "spread_by_perturbation": np.column_stack((PERTURBATIONS, spreads))})


def end_point_spreads(view: _View, draws: Draws, starts: int = 64) -> np.ndarray:
    """For each perturbation size, how far apart pairs of paths end that started that far apart: (sizes, starts)."""
    y = view.classes(draws, starts)
    first = view.study.first_noise(draws, starts, y)
    direction = torch.nn.functional.normalize(draws.normal(starts, 2), dim=1)
    base = view.path(first, draws, steps=50, y=y)[:, -1]
    rows = [view.path(first + size * direction, draws, steps=50, y=y)[:, -1] - base for size in PERTURBATIONS]
    return np.linalg.norm(np.stack(rows), axis=-1)


def _starts(view: _View, draws: Draws) -> Drawing:
    count = min(5_000, view.study.samples)
    shown = {
        "matched": view.generate(draws, count, start="matched"),
        "σ(1) alone": view.generate(draws, count, start="standard"),
    }
    truth = view.study.truth.sample(max(count, 5_000), draws.fork("real")).x.numpy(force=True)
    return Drawing(clouds.starts(shown, truth, view.plane), shown)


def _names(study: PointDiffusion) -> list[str]:
    return [str(label) for label in range(study.classes)]


def _classes(view: _View, draws: Draws) -> Drawing:
    train = view.study.data().train if view.study.points else view.study.batch({}, draws)
    x, y = train["x"].numpy(force=True), train["y"].numpy(force=True)
    figure = clouds.class_cloud(
        x, y, plane_of(view.study.truth, classes=True), title="training points", names=_names(view.study)
    )
    return Drawing(figure, {"x": x, "y": y})


def _class_paths(view: _View, draws: Draws) -> Drawing:
    y = torch.arange(view.study.classes)
    trajectories = view.path(view.study.first_noise(draws, len(y), y), draws, y=y)
    figure = paths.class_paths(trajectories, plane_of(view.study.truth, classes=True), _names(view.study))
    return Drawing(figure, {f"class {label}": path for label, path in enumerate(trajectories)})


def _class_samples(view: _View, draws: Draws) -> Drawing:
    y = torch.arange(view.count) % view.study.classes
    x = view.study.generate(view.model, view.count, draws, y=y)
    plane = plane_of(view.study.truth, classes=True)
    figure = clouds.class_cloud(
        x.numpy(force=True),
        y.numpy(force=True),
        plane,
        title="samples, equally many per class",
        names=_names(view.study),
    )
    return Drawing(figure, {"x": x.numpy(force=True), "y": y.numpy(force=True)})


def _class_likelihoods(view: _View, draws: Draws) -> Drawing:
    study = view.study
    x, y = likelihood_points(study.truth, study.likelihood_points, draws, by_class=True)
    assert y is not None
    nll = -study.log_prob(view.model, x, y)
    mean = np.array([nll[y == label].mean() for label in range(study.classes)])
    error = np.array([nll[y == label].std() / (y == label).sum().sqrt() for label in range(study.classes)])
    truth = np.array(study.truth.class_entropies)
    figure = curves.class_likelihoods(truth, mean, error, _names(study))
    return Drawing(figure, {"nll": np.column_stack((truth, mean, error))})


def _point_likelihoods(view: _View, draws: Draws) -> Drawing:
    rows = log_prob_table(view.study, view.model, draws)
    names = [f"{row['point']}  ({row['x1']:g}, {row['x2']:g})" for row in rows]
    numbers = {key: np.array([row[key] for row in rows]) for key in ("log_prob", "bound", "bound_error", "truth")}
    figure = curves.point_likelihoods(
        names, numbers["log_prob"], numbers["bound"], numbers["bound_error"], numbers["truth"]
    )
    return Drawing(figure, numbers)
