"""What the claims on points share: a trained run's samples against the data, many a side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from genlib.metrics import c2st, sliced_wasserstein
from genlib.training import Trained

COUNT = 10_000
"""Samples a side in every comparison of clouds."""
Metric = Callable[[Trained[Any], Tensor], float]


def samples_of(run: Trained[Any], **fields: Any) -> Tensor:
    """Samples, with some evaluation fields changed."""
    study = replace(run.study, **fields)
    return study.generate(run.model, COUNT, study.draws("claims/samples"))


def real_points(run: Trained[Any], name: str = "real") -> Tensor:
    """As many of the data."""
    return run.study.truth.sample(COUNT, run.study.draws(f"claims/{name}")).x


def c2st_to_data(run: Trained[Any], x: Tensor) -> float:
    """How well a classifier tells samples from the data."""
    return c2st(real_points(run).numpy(), x.numpy(), seed=run.study.seed)


def distance_to_data(run: Trained[Any], x: Tensor) -> float:
    """Sliced Wasserstein to the data, over five real clouds."""
    return sum(sliced_wasserstein(real_points(run, f"real {k}"), x) for k in range(5)) / 5


def gain(metric: Metric, few: int, many: int, **fields: Any) -> Callable[[Sequence[Trained[Any]]], float]:
    """How much a metric falls from few to many sampling steps."""

    def effect(runs: Sequence[Trained[Any]]) -> float:
        values = (metric(runs[0], samples_of(runs[0], sampling_steps=steps, **fields)) for steps in (few, many))
        return next(values) - next(values)

    return effect
