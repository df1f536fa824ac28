"""What both flows on points are asked alike: paths of chosen points, and what tells on from off the density."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from genlib.claims import Claim
from genlib.draws import Draws
from genlib.figures import clouds, paths
from genlib.figures.planes import plane_of
from genlib.figures.style import Plane
from genlib.study import Drawing
from genlib.training import Trained

if TYPE_CHECKING:
    from genlib.studies.coupling_flow import CouplingFlow
    from genlib.studies.flow_matching import FlowMatching

    Flow: TypeAlias = CouplingFlow | FlowMatching


def five_points(study: Flow, draws: Draws) -> tuple[Tensor, Tensor | None, np.ndarray]:
    """Three points on the density, far from each other, and two off it, one far and one near its middle; their classes;
    which are on it.
    """
    real, labels = study.truth.sample(500, draws)
    chosen = [0]
    for _ in range(2):
        chosen.append(int(torch.cdist(real, real[chosen]).min(1).values.argmax()))
    room = off_density(study, 200, draws.fork("off"))
    away = torch.cdist(room, real).min(1).values
    hidden = torch.where(away > away.median() / 2, (room - real.mean(0)).norm(dim=1), math.inf)
    x = torch.cat((real[chosen], room[[int(away.argmax()), int(hidden.argmin())]]))
    y = None if not study.classes or labels is None else torch.cat((labels[chosen], labels[:2]))
    return x, y, np.array([True] * 3 + [False] * 2)


def off_density(study: Flow, count: int, draws: Draws) -> Tensor:
    """Points of the density's rectangle, spread evenly over where it has next to no mass."""
    half, middle = torch.tensor(study.truth.extent), torch.tensor(study.truth.centre)
    x = middle + half * (2 * draws.uniform(40 * count, 2) - 1)
    typical = study.truth.log_prob(study.truth.sample(1_000, draws.fork("typical")).x.double())
    finite = typical[typical.isfinite()]
    return x[study.truth.log_prob(x.double()) < finite.min() - 5][:count].float()


def labels_of(study: Flow, count: int, draws: Draws) -> Tensor | None:
    """Classes in the data's own shares; none for a study without."""
    return study.truth.sample(count, draws.fork("labels")).y if study.classes else None


def ground(study: Flow) -> Plane:
    """Where figures are drawn."""
    return plane_of(study.truth)


@torch.no_grad()
def draw_samples(study: Flow, model: Any) -> Drawing:
    """Samples under three seeds of the noise, beside the data."""
    draws, count = study.draws("figures/samples"), min(2_000, study.samples)
    shown = {"data": study.truth.sample(count, draws).x.numpy()}
    for seed in range(3):
        mine = draws.fork(str(seed))
        shown[f"samples, seed {seed}"] = study.generate(model, count, mine, y=labels_of(study, count, mine)).numpy()
    return Drawing(clouds.cloud_panels(shown, ground(study), columns=4), shown)


@torch.no_grad()
def draw_inverse_paths(study: Flow, model: Any) -> Drawing:
    """Five points on their way to the noise."""
    x, y, on = five_points(study, study.draws("figures/inverse"))
    whole = study.path(model, x, y, inverse=True).transpose(0, 1).numpy()
    log_p = study.log_prob(model, x, y).numpy()
    figure = paths.inverse_paths(whole, on, log_p, ground(study))
    return Drawing(figure, {f"point {k}": path for k, path in enumerate(whole)} | {"log_prob": log_p})


# -- what the claims measure -------------------------------------------------------------------------------------------

NEAR = 0.35
"""Off the density, but within this distance of it: inside the rings' holes and around their edges."""


@torch.no_grad()
def on_and_off(run: Trained[Any], *, near: bool, count: int = 1_000) -> tuple[Tensor, Tensor]:
    """Points on the density, and points off it: anywhere in its rectangle, or near it."""
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


def on_off_claims(study: Flow) -> tuple[Claim, ...]:
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
