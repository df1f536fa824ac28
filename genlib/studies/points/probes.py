"""Chosen points that a flow on points is asked about: on its density and off it, and their classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genlib.draws import Draws
from genlib.studies.points.study import PointStudy


def five_points(study: PointStudy[Any], draws: Draws) -> tuple[Tensor, Tensor | None, np.ndarray]:
    """Three points on the density, far from each other, and two off it, one far and one near its middle; their classes;
    which are on it.
    """
    real, labels = study.truth.sample(500, draws)
    chosen = [0]
    for _ in range(2):
        chosen.append(int(torch.cdist(real, real[chosen]).min(1).values.argmax()))
    off = off_density(study, 200, draws.fork("off"))
    away = torch.cdist(off, real).min(1).values
    hidden = torch.where(away > away.median() / 2, (off - real.mean(0)).norm(dim=1), math.inf)
    x = torch.cat((real[chosen], off[[int(away.argmax()), int(hidden.argmin())]]))
    y = None if not study.classes or labels is None else torch.cat((labels[chosen], labels[:2]))
    return x, y, np.array([True] * 3 + [False] * 2)


def off_density(study: PointStudy[Any], count: int, draws: Draws) -> Tensor:
    """Points of the density's rectangle, spread evenly over where it has next to no mass."""
    half, middle = torch.tensor(study.truth.extent), torch.tensor(study.truth.centre)
    x = middle + half * (2 * draws.uniform(40 * count, 2) - 1)
    typical = study.truth.log_prob(study.truth.sample(1_000, draws.fork("typical")).x.double())
    finite = typical[typical.isfinite()]
    return x[study.truth.log_prob(x.double()) < finite.min() - 5][:count].float()


def labels_of(study: PointStudy[Any], count: int, draws: Draws) -> Tensor | None:
    """Classes in the data's own shares; None for a study without classes."""
    return study.truth.sample(count, draws.fork("labels")).y if study.classes else None
