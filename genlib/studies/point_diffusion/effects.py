"""What the claims on diffusion measure: each a function from trained runs to a number that a finding says is large.

Where schedules are compared, so are their perfect denoisers: the samples of exp(3(t−1)) end at σ = .05 and those of
exp(5(t−1)) at .007, which a classifier sees however well the network has learnt. What counts is what learning adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genlib.data.points import Square
from genlib.data.points.square import posterior_mean
from genlib.methods import diffusion
from genlib.metrics import coverage
from genlib.studies.point_diffusion.study import PointDiffusion
from genlib.studies.points.claims import COUNT, c2st_to_data, gain, real_points, samples_of
from genlib.trained import Trained

One = Trained[PointDiffusion]
Compared = Sequence[One]


# -- clouds ------------------------------------------------------------------------------------------------------------


def _perfect_samples(run: One, **fields: Any) -> Tensor:
    """What the study would sample if its denoiser were perfect; from the same noise."""

    def perfect(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - posterior_mean(x, sigma)) / sigma

    study = replace(run.study, **fields)
    draws = study.draws("claims/samples")
    sigmas = study.noise.sigmas(study.sampling_steps)
    return diffusion.sample(perfect, study.first_noise(draws, COUNT), sigmas, draws)


def _above_perfect(run: One, **fields: Any) -> float:
    """C2ST above that of the perfect denoiser under the same schedule and steps."""
    return c2st_to_data(run, samples_of(run, **fields)) - c2st_to_data(run, _perfect_samples(run, **fields))


# -- the loss and its floor --------------------------------------------------------------------------------------------


def final(name: str) -> Callable[[Compared], float]:
    """The last value of a metric in the journal."""

    def effect(runs: Compared) -> float:
        return float(runs[0].history.series(name)[1][-1])

    return effect


def excess_over_floor(runs: Compared) -> float:
    """Minus the mean squared distance to the perfect denoiser, as a share of the floor."""
    floor = runs[0].study.floor()
    assert floor is not None
    return -final("validation/excess")(runs) / floor


def fits_data(runs: Compared) -> float:
    """How little a classifier tells the samples from the data."""
    return 0.5 - c2st_to_data(runs[0], samples_of(runs[0]))


# -- one noise, neighbouring noises ------------------------------------------------------------------------------------


def _ends(run: One, start: Tensor) -> Tensor:
    sigmas, unused = run.study.noise.sigmas(100), run.study.draws("unused")
    return diffusion.sample(run.study.predictor(run.model), start, sigmas, unused)


def one_end_point(runs: Compared) -> float:
    """Minus how far apart the ends of one noise are, drawn alone and in company."""
    start = runs[0].study.first_noise(runs[0].study.draws("claims/one noise"), 64)
    alone = torch.cat([_ends(runs[0], start[k : k + 1]) for k in range(8)])
    return -float((_ends(runs[0], start)[:8] - alone).abs().max())


def _moves(runs: Compared) -> Tensor:
    """For 400 starts moved by .1, how far their end points move."""
    draws = runs[0].study.draws("claims/moves")
    start = runs[0].study.first_noise(draws, 400)
    moved = start + 0.1 * torch.nn.functional.normalize(draws.normal(400, 2), dim=1)
    return (_ends(runs[0], moved) - _ends(runs[0], start)).norm(dim=1)


def close_to_far(runs: Compared) -> float:
    """How many times as far the end points of some perturbed starts move as those of others."""
    moves = _moves(runs)
    return float(moves.quantile(0.99) / moves.quantile(0.01))


def furthest(runs: Compared) -> float:
    """The furthest that the end point of a perturbed start moves."""
    return float(_moves(runs).max())


# -- schedules: (exp3 or exp10, exp5), each short and long -------------------------------------------------------------


def more_training(runs: Compared) -> float:
    """What training from short to long brings the first schedule, minus what it brings the second."""
    short, long, other_short, other_long = map(_above_perfect, runs)
    return (short - long) - (other_short - other_long)


def more_steps(runs: Compared) -> float:
    """What going from 5 to 50 sampling steps brings the first schedule, minus what it brings the second."""
    first, second = (gain(c2st_to_data, 5, 50)([run]) for run in runs)
    return first - second


def learns_better(runs: Compared) -> float:
    """By how much the first schedule's samples are nearer to a perfect denoiser's than the second's."""
    return _above_perfect(runs[1]) - _above_perfect(runs[0])


def looks_better(runs: Compared) -> float:
    """By how much the first schedule's samples are nearer to the data than the second's."""
    return c2st_to_data(runs[1], samples_of(runs[1])) - c2st_to_data(runs[0], samples_of(runs[0]))


def covers_less(runs: Compared) -> float:
    """By how much less of the data the first schedule's samples cover than the second's."""
    first, second = (coverage(real_points(run).numpy(), samples_of(run).numpy()) for run in runs)
    return second - first


# -- classes -----------------------------------------------------------------------------------------------------------


def _log_p(run: One, x: Tensor, y: Tensor) -> Tensor:
    return run.study.log_prob(run.model, x, y)


def in_class_over_wrong(runs: Compared) -> float:
    """By how much log p of real points is higher under their own class than under another."""
    x, y = runs[0].study.truth.sample(600, runs[0].study.draws("claims/in class"))
    assert y is not None
    return float((_log_p(runs[0], x, y) - _log_p(runs[0], x, (y + 1) % 5)).mean())


def _pairs(run: One, low: float, high: float, count: int = 400) -> tuple[Tensor, Tensor]:
    """Points of other classes and points outside the square, in pairs equally far from class 3."""
    draws = run.study.draws("claims/pairs")
    gap = low + (high - low) * draws.uniform(count)
    angle = 2 * math.pi * draws.uniform(count)
    inner = 3 * math.sqrt(2) / 5 - gap
    wrong = inner.unsqueeze(1) * torch.stack((angle.cos(), angle.sin()), 1)
    along = (2 * draws.uniform(count) - 1) * 0.5  # where the edge of the square belongs to class 3
    side = draws.integers(4, count)
    sign = (1 - 2 * (side % 2)).float()
    beyond = torch.stack((sign * (1 + gap), along), 1)
    return wrong, torch.where((side < 2).unsqueeze(1), beyond, beyond.flip(1))


def wrong_over_outside(low: float, high: float) -> Callable[[Compared], float]:
    """By how much log p is higher in other classes than outside the square, at equal distances from the class."""

    def effect(runs: Compared) -> float:
        wrong, beyond = _pairs(runs[0], low, high)
        label = torch.full((len(wrong),), 3)
        return float((_log_p(runs[0], wrong, label) - _log_p(runs[0], beyond, label)).mean())

    return effect


def wrong_over_outside_unmatched(runs: Compared) -> float:
    """By how much log p is higher anywhere in other classes than in the frame between the square and [−2, 2]²."""
    run, label = runs[0], torch.full((400,), 2)
    x = run.study.draws("claims/unmatched").uniform(20_000, 2) * 4 - 2
    inside = Square().contains(x)
    wrong = x[inside & (Square().label(x) != 2)][:400]
    return float(_log_p(run, wrong, label).mean() - _log_p(run, x[~inside][:400], label).mean())


def drift(label: int, outward: float, start: diffusion.StartName) -> Callable[[Compared], float]:
    """By how much a class's samples are further from the origin than its real points in the mean, times `outward`."""

    def effect(runs: Compared) -> float:
        run = runs[0]
        study, draws = replace(run.study, start=start), run.study.draws(f"claims/drift {label}")
        x = study.generate(run.model, COUNT, draws, y=torch.full((COUNT,), label))
        real, y = study.truth.sample(200_000, draws)
        return outward * float(x.norm(dim=1).mean() - real[y == label].norm(dim=1).mean())

    return effect


def corner_share(runs: Compared) -> float:
    """The share of samples in the corners, drawn equally for each class, above the true share."""
    study = runs[0].study
    x = study.generate(runs[0].model, COUNT, study.draws("claims/corners"), y=torch.arange(COUNT) % 5)
    return float((Square().label(x) == 4).float().mean()) - Square().priors[4]
