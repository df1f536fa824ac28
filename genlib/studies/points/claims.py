"""What the claims on points share: samples against the data, and points on the density against points off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genlib.claims import Claim
from genlib.metrics import c2st, sliced_wasserstein
from genlib.studies.points.probes import off_density
from genlib.studies.points.study import PointStudy
from genlib.trained import Trained

COUNT = 10_000
"""Number of samples a side in every comparison of clouds."""
Metric = Callable[[Trained[Any], Tensor], float]


def samples_of(run: Trained[Any], **fields: Any) -> Tensor:
    """Samples, with some evaluation fields changed."""
    study = replace(run.study, **fields)
    return study.generate(run.model, COUNT, study.draws("claims/samples"))


def real_points(run: Trained[Any], name: str = "real") -> Tensor:
    """Points of the data, as many as `samples_of` draws."""
    return run.study.truth.sample(COUNT, run.study.draws(f"claims/{name}")).x


def c2st_to_data(run: Trained[Any], x: Tensor) -> float:
    """How well a classifier tells samples from the data."""
    return c2st(real_points(run).numpy(), x.numpy(), seed=run.study.seed)


def distance_to_data(run: Trained[Any], x: Tensor) -> float:
    """Sliced Wasserstein distance of samples to the data, as the mean over five real clouds."""
    return sum(sliced_wasserstein(real_points(run, f"real {k}"), x) for k in range(5)) / 5


def gain(metric: Metric, few: int, many: int, **fields: Any) -> Callable[[Sequence[Trained[Any]]], float]:
    """How much a metric falls from few to many sampling steps."""

    def effect(runs: Sequence[Trained[Any]]) -> float:
        values = (metric(runs[0], samples_of(runs[0], sampling_steps=steps, **fields)) for steps in (few, many))
        return next(values) - next(values)

    return effect


# -- on the density and off it -----------------------------------------------------------------------------------------

NEAR = 0.35
"""Distance within which points off the density are near it: inside the rings' holes and around their edges."""


@torch.no_grad()
def on_and_off(run: Trained[Any], *, near: bool, count: int = 1_000) -> tuple[Tensor, Tensor]:
    """Points on the density, and points off it: anywhere in its rectangle, or `near` the density."""
    draws = run.study.draws("claims/on and off")
    on = run.study.truth.sample(count, draws).x
    off = off_density(run.study, 4 * count, draws.fork("off"))
    if near:
        off = off[torch.cdist(off, run.study.truth.sample(5_000, draws.fork("real")).x).min(1).values < NEAR]
    return on, off[:count]


def likelier(near: bool) -> Callable[[Sequence[Trained[Any]]], float]:
    """How surely points on the density are likelier than points off it."""

    def effect(runs: Sequence[Trained[Any]]) -> float:
        on, off = (runs[0].study.log_prob(runs[0].model, x) for x in on_and_off(runs[0], near=near))
        return _above(on, off)

    return effect


def further_out(near: bool) -> Callable[[Sequence[Trained[Any]]], float]:
    """How surely the noise of points off the density is further out than that of points on it."""

    def effect(runs: Sequence[Trained[Any]]) -> float:
        on, off = on_and_off(runs[0], near=near)
        on, off = (runs[0].study.path(runs[0].model, x, inverse=True)[-1].norm(dim=1) for x in (on, off))
        return _above(off, on)

    return effect


def _above(one: Tensor, other: Tensor) -> float:
    """P(one > other) − ½, over all pairs: the area under the ROC curve above chance."""
    return float((one.unsqueeze(1) > other).float().mean()) - 0.5


def on_off_claims(study: PointStudy[Any]) -> tuple[Claim, ...]:
    """What both reports found of points on the logo and off it."""
    places = ((False, "anywhere around it"), (True, f"within {NEAR} of it"))
    likelihoods = [
        Claim(
            f"Points on the logo have higher log p than points off it, {where}",
            (study,),
            likelier(near),
            "how often a point on it has the higher log p of a pair, minus ½ (means would be of a few far outliers)",
        )
        for near, where in places
    ]
    norms = [
        Claim(
            f"Points on the logo have smaller ‖z‖ than points off it, {where}",
            (study,),
            further_out(near),
            "how often a point off it has the greater ‖z‖ of a pair, minus ½",
        )
        for near, where in places
    ]
    return (*likelihoods, *norms)
