"""What the report found about diffusion on points, as claims: each a number per seed that the finding says is large.

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

from genlib.claims import Claim
from genlib.data.points import Square
from genlib.data.points.square import posterior_mean
from genlib.methods import diffusion
from genlib.metrics import coverage
from genlib.studies.point_comparisons import COUNT, c2st_to_data, distance_to_data, gain, real_points, samples_of
from genlib.studies.point_diffusion import PointDiffusion
from genlib.training import Trained

Run = Trained[PointDiffusion]
Runs = Sequence[Run]
REPORT = PointDiffusion()
SHORT = REPORT.steps // 8
LONG_RUNS = {name: PointDiffusion(schedule=name) for name in ("exp3", "exp5", "exp10")}
SHORT_RUNS = {name: PointDiffusion(schedule=name, steps=SHORT) for name in ("exp3", "exp5", "exp10")}
BY_CLASS = PointDiffusion(classes=5)

STARTS: tuple[tuple[diffusion.StartName, str], ...] = (
    ("standard", "the report's noise"),
    ("matched", "the class's own noise"),
)


# -- clouds ------------------------------------------------------------------------------------------------------------


def _perfect_samples(run: Run, **fields: Any) -> Tensor:
    """What the study would sample if its denoiser were perfect; from the same noise."""

    def perfect(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - posterior_mean(x, sigma)) / sigma

    study = replace(run.study, **fields)
    draws = study.draws("claims/samples")
    sigmas = study.noise.sigmas(study.sampling_steps)
    return diffusion.sample(perfect, study.first_noise(draws, COUNT), sigmas, draws)


def _above_perfect(run: Run, **fields: Any) -> float:
    """C2ST above that of the perfect denoiser under the same schedule and steps."""
    return c2st_to_data(run, samples_of(run, **fields)) - c2st_to_data(run, _perfect_samples(run, **fields))


# -- the loss and its floor --------------------------------------------------------------------------------------------


def _final(name: str) -> Callable[[Runs], float]:
    def effect(runs: Runs) -> float:
        return float(runs[0].history.series(name)[1][-1])

    return effect


def _excess_over_floor(runs: Runs) -> float:
    """Minus the mean squared distance to the perfect denoiser, as a share of the floor."""
    floor = runs[0].study.floor()
    assert floor is not None
    return -_final("validation/excess")(runs) / floor


def _fit(runs: Runs) -> float:
    return 0.5 - c2st_to_data(runs[0], samples_of(runs[0]))


# -- one noise, neighbouring noises ------------------------------------------------------------------------------------


def _ends(run: Run, start: Tensor) -> Tensor:
    sigmas, unused = run.study.noise.sigmas(100), run.study.draws("unused")
    return diffusion.sample(run.study.predictor(run.model), start, sigmas, unused)


def _one_end_point(runs: Runs) -> float:
    """Minus how far apart the ends of one noise are, drawn alone and in company."""
    start = runs[0].study.first_noise(runs[0].study.draws("claims/one noise"), 64)
    alone = torch.cat([_ends(runs[0], start[k : k + 1]) for k in range(8)])
    return -float((_ends(runs[0], start)[:8] - alone).abs().max())


def _moves(runs: Runs) -> Tensor:
    """For 400 starts moved by .1, how far their end points move."""
    draws = runs[0].study.draws("claims/moves")
    start = runs[0].study.first_noise(draws, 400)
    moved = start + 0.1 * torch.nn.functional.normalize(draws.normal(400, 2), dim=1)
    return (_ends(runs[0], moved) - _ends(runs[0], start)).norm(dim=1)


def _close_to_far(runs: Runs) -> float:
    moves = _moves(runs)
    return float(moves.quantile(0.99) / moves.quantile(0.01))


def _furthest(runs: Runs) -> float:
    return float(_moves(runs).max())


# -- schedules: (exp3 or exp10, exp5), each short and long -------------------------------------------------------------


def _more_training(runs: Runs) -> float:
    """What training from short to long brings the first schedule, minus what it brings the second."""
    short, long, other_short, other_long = map(_above_perfect, runs)
    return (short - long) - (other_short - other_long)


def _more_steps(runs: Runs) -> float:
    """What going from 5 to 50 sampling steps brings the first schedule, minus what it brings the second."""
    first, second = (gain(c2st_to_data, 5, 50)([run]) for run in runs)
    return first - second


def _learns_better(runs: Runs) -> float:
    return _above_perfect(runs[1]) - _above_perfect(runs[0])


def _looks_better(runs: Runs) -> float:
    return c2st_to_data(runs[1], samples_of(runs[1])) - c2st_to_data(runs[0], samples_of(runs[0]))


def _covers_less(runs: Runs) -> float:
    first, second = (coverage(real_points(run).numpy(), samples_of(run).numpy()) for run in runs)
    return second - first


# -- classes -----------------------------------------------------------------------------------------------------------


def _log_p(run: Run, x: Tensor, y: Tensor) -> Tensor:
    return run.study.log_prob(run.model, x, y)


def _in_class_over_wrong(runs: Runs) -> float:
    x, y = runs[0].study.truth.sample(600, runs[0].study.draws("claims/in class"))
    assert y is not None
    return float((_log_p(runs[0], x, y) - _log_p(runs[0], x, (y + 1) % 5)).mean())


def _pairs(run: Run, low: float, high: float, count: int = 400) -> tuple[Tensor, Tensor]:
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


def _wrong_over_outside(low: float, high: float) -> Callable[[Runs], float]:
    def effect(runs: Runs) -> float:
        wrong, beyond = _pairs(runs[0], low, high)
        label = torch.full((len(wrong),), 3)
        return float((_log_p(runs[0], wrong, label) - _log_p(runs[0], beyond, label)).mean())

    return effect


def _wrong_over_outside_unmatched(runs: Runs) -> float:
    """Points anywhere in other classes against points anywhere in the frame between the square and [−2, 2]²."""
    run, label = runs[0], torch.full((400,), 2)
    x = run.study.draws("claims/unmatched").uniform(20_000, 2) * 4 - 2
    inside = Square().contains(x)
    wrong = x[inside & (Square().label(x) != 2)][:400]
    return float(_log_p(run, wrong, label).mean() - _log_p(run, x[~inside][:400], label).mean())


def _drift(label: int, outward: float, start: diffusion.StartName) -> Callable[[Runs], float]:
    """How far the mean distance from the origin of a class's samples is off that of its real points."""

    def effect(runs: Runs) -> float:
        run = runs[0]
        study, draws = replace(run.study, start=start), run.study.draws(f"claims/drift {label}")
        x = study.generate(run.model, COUNT, draws, y=torch.full((COUNT,), label))
        real, y = study.truth.sample(200_000, draws)
        return outward * float(x.norm(dim=1).mean() - real[y == label].norm(dim=1).mean())

    return effect


def _corner_share(runs: Runs) -> float:
    study = runs[0].study
    x = study.generate(runs[0].model, COUNT, study.draws("claims/corners"), y=torch.arange(COUNT) % 5)
    return float((Square().label(x) == 4).float().mean()) - Square().priors[4]


CLAIMS = (
    *(
        Claim(
            f"More sampling steps give a closer distribution: {many} against {few}, by {name}",
            (REPORT,),
            gain(metric, few, many),
            f"fall of {name}",
        )
        for name, metric in (("C2ST", c2st_to_data), ("sliced Wasserstein", distance_to_data))
        for few, many in ((5, 20), (20, 100))
    ),
    Claim(
        "The loss plateaus far above zero", (REPORT,), _final("validation/loss"), "final validation loss", margin=0.5
    ),
    Claim("… although the samples fit", (REPORT,), _fit, ".5 minus C2ST", margin=-0.05),
    *(
        Claim(
            f"… and it must: what is left is the posterior variance, {floor} for {name}",
            (LONG_RUNS[name],),
            _excess_over_floor,
            "minus the excess over the floor, as a share of it",
            margin=-0.03,
        )
        for name, floor in (("exp3", ".725"), ("exp5", ".827"), ("exp10", ".913"))
    ),
    Claim(
        "One noise gives one end point under DDIM",
        (REPORT,),
        _one_end_point,
        "minus the largest difference",
        margin=-1e-4,
    ),
    Claim(
        "A small perturbation of the start gives end points from close to far",
        (REPORT,),
        _close_to_far,
        "99 % over 1 % quantile of how far a perturbation of .1 moves the end",
        margin=5,
    ),
    Claim(
        "A small perturbation (.1) can end in a quite different place",
        (REPORT,),
        _furthest,
        "furthest move of an end point, of 400 starts",
        margin=0.5,
    ),
    Claim(
        "exp(3(t−1)) needs more training than exp(5(t−1))",
        (SHORT_RUNS["exp3"], LONG_RUNS["exp3"], SHORT_RUNS["exp5"], LONG_RUNS["exp5"]),
        _more_training,
        f"gain in C2ST above perfect from {SHORT} to {REPORT.steps:,} updates, exp3 minus exp5",
    ),
    Claim(
        "exp(3(t−1)) needs more sampling steps than exp(5(t−1))",
        (LONG_RUNS["exp3"], LONG_RUNS["exp5"]),
        _more_steps,
        "gain in C2ST from 5 to 50 sampling steps, exp3 minus exp5",
    ),
    Claim(
        f"exp(3(t−1)) learns better than exp(5(t−1)) given {REPORT.steps:,} updates",
        (LONG_RUNS["exp3"], LONG_RUNS["exp5"]),
        _learns_better,
        "C2ST above the perfect denoiser's, exp5 minus exp3",
    ),
    Claim(
        f"exp(3(t−1)) gives better samples than exp(5(t−1)) given {REPORT.steps:,} updates",
        (LONG_RUNS["exp3"], LONG_RUNS["exp5"]),
        _looks_better,
        "C2ST, exp5 minus exp3 (exp3 ends at σ = .05, and shows it)",
    ),
    Claim(
        "exp(10(t−1)) converges sooner than exp(5(t−1))",
        (SHORT_RUNS["exp10"], SHORT_RUNS["exp5"]),
        _learns_better,
        f"C2ST above the perfect denoiser's after {SHORT} updates, exp5 minus exp10",
    ),
    Claim(
        "exp(10(t−1)) covers less than exp(5(t−1))",
        (LONG_RUNS["exp10"], LONG_RUNS["exp5"]),
        _covers_less,
        "coverage, exp5 minus exp10",
    ),
    Claim(
        "log p(x|c) is higher in the class than in a wrong class",
        (BY_CLASS,),
        _in_class_over_wrong,
        "log p of real points under their own class minus under the next, nats",
    ),
    Claim(
        "log p(x|c) is higher in a wrong class than outside the data",
        (BY_CLASS,),
        _wrong_over_outside_unmatched,
        "log p given class 2: points of other classes minus points around the square, nats",
    ),
    *(
        Claim(
            f"… at equal distances from the class too, {low} to {high}",
            (BY_CLASS,),
            _wrong_over_outside(low, high),
            "log p given class 3: points of other classes minus points outside, in pairs, nats",
        )
        for low, high in ((0.02, 0.07), (0.1, 0.2))
    ),
    Claim(
        "Sampling equally per class over-represents the corners",
        (BY_CLASS,),
        _corner_share,
        "share of samples in the corners above the true .088",
        margin=0.05,
    ),
    *(
        Claim(
            f"{text}, sampling from {words}",
            (BY_CLASS,),
            _drift(label, outward, start),
            "shift of the mean distance from 0",
        )
        for start, words in STARTS
        for text, label, outward in (
            ("The corner class drifts inward", 4, -1.0),
            ("The corner's neighbour drifts outward", 3, 1.0),
        )
    ),
)
