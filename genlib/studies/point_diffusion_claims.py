"""What the report found about diffusion on points, as claims: each a number per seed that the finding says is large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from genlib.claims import Claim
from genlib.data.points import Square
from genlib.methods import diffusion
from genlib.metrics import c2st, coverage, sliced_wasserstein
from genlib.studies.point_diffusion import PointDiffusion
from genlib.training import Trained

Run = Trained[PointDiffusion]
Runs = Sequence[Run]
COUNT = 10_000
"""Samples a side in every comparison of clouds."""

REPORT = PointDiffusion()
SHORT = REPORT.steps // 8
SCHEDULES = {name: PointDiffusion(schedule=name) for name in ("exp3", "exp5", "exp10")}
SHORT_SCHEDULES = {name: PointDiffusion(schedule=name, steps=SHORT) for name in ("exp3", "exp5", "exp10")}
CONDITIONAL = PointDiffusion(classes=5)


def _generate(run: Run, **fields: Any) -> torch.Tensor:
    study = replace(run.study, **fields)
    return study.generate(run.model, COUNT, study.draws("claims/samples"))


def _real(run: Run, name: str = "real") -> torch.Tensor:
    return run.study.truth.sample(COUNT, run.study.draws(f"claims/{name}")).x


def _distance(run: Run, **fields: Any) -> float:
    """Sliced Wasserstein of 10,000 samples to the data, over five real clouds."""
    x = _generate(run, **fields)
    return sum(sliced_wasserstein(_real(run, f"real {k}"), x) for k in range(5)) / 5


def _c2st(run: Run, **fields: Any) -> float:
    return c2st(_real(run).numpy(), _generate(run, **fields).numpy(), seed=run.study.seed)


def _c2st_falls_with_steps(runs: Runs) -> float:
    values = [_c2st(runs[0], sampling_steps=steps) for steps in (5, 20, 100)]
    return min(values[0] - values[1], values[1] - values[2])


def _distance_falls_with_steps(runs: Runs) -> float:
    values = [_distance(runs[0], sampling_steps=steps) for steps in (5, 20, 100)]
    return min(values[0] - values[1], values[1] - values[2])


def _final_loss(runs: Runs) -> float:
    return float(runs[0].history.series("validation/loss")[1][-1])


def _share_of_floor(runs: Runs) -> float:
    floor = runs[0].study.floor()
    assert floor is not None
    return 1 - _final_loss(runs) / floor


def _one_end_point(runs: Runs) -> float:
    """Minus how far apart the ends of one noise are, drawn alone and in company."""
    run = runs[0]
    study, start = run.study, run.study.first_noise(64, run.study.draws("claims/one noise"))
    sigmas, predictor, draws = study.noise.sigmas(100), study.predictor(run.model), study.draws("unused")
    together = diffusion.sample(predictor, start, sigmas, draws)
    alone = torch.cat([diffusion.sample(predictor, start[k : k + 1], sigmas, draws) for k in range(8)])
    return -float((together[:8] - alone).abs().max())


def _stretch(runs: Runs) -> torch.Tensor:
    """For 400 starts, the end points' distance over the starts' distance of .1."""
    run = runs[0]
    study, draws = run.study, run.study.draws("claims/stretch")
    start = study.first_noise(400, draws)
    moved = start + 0.1 * torch.nn.functional.normalize(draws.normal(400, 2), dim=1)
    sigmas, predictor = study.noise.sigmas(100), study.predictor(run.model)
    ends = [diffusion.sample(predictor, x, sigmas, draws) for x in (start, moved)]
    return (ends[1] - ends[0]).norm(dim=1) / 0.1


def _close_to_far(runs: Runs) -> float:
    stretch = _stretch(runs)
    return float(stretch.quantile(0.99) / stretch.quantile(0.01))


def _furthest(runs: Runs) -> float:
    return float(_stretch(runs).max()) * 0.1


def _c2st_first_over_second(runs: Runs) -> float:
    return _c2st(runs[0]) - _c2st(runs[1])


def _coverage_second_over_first(runs: Runs) -> float:
    values = [coverage(_real(run).numpy(), _generate(run).numpy()) for run in runs]
    return values[1] - values[0]


def _conditional_log_prob(run: Run, x: torch.Tensor, y: torch.Tensor) -> float:
    return float(run.study.log_prob(run.model, x, y).clamp_min(-1e4).mean())


def _points_by_distance(run: Run, label: int, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Points at distances in [low, high] from the region of a class: within the square, and outside of it.

    For class 3 both exist at equal distance: inwards (class 2 and 1), and outside beyond the edges.
    """
    inner, outer = label * 2**0.5 / 5, (label + 1) * 2**0.5 / 5
    draws = run.study.draws(f"claims/distance {label}")
    x = draws.uniform(200_000, 2) * 4 - 2
    radius, inside = x.norm(dim=1), run.study.truth.contains(x)
    assert inside is not None
    gap_in = inner - radius
    nearest = x.clamp(-1, 1)
    gap_out = (x - nearest).norm(dim=1)
    reachable = (nearest.norm(dim=1) > inner) & (nearest.norm(dim=1) < outer)
    wrong = x[inside & (gap_in > low) & (gap_in < high)]
    beyond = x[~inside & reachable & (gap_out > low) & (gap_out < high)]
    return wrong[:300], beyond[:300]


def _in_class_over_wrong(runs: Runs) -> float:
    run = runs[0]
    x, y = run.study.truth.sample(600, run.study.draws("claims/in class"))
    assert y is not None
    return _conditional_log_prob(run, x, y) - _conditional_log_prob(run, x, (y + 1) % 5)


def _wrong_over_outside(runs: Runs) -> float:
    """At distances .1 to .2 from class 3: log p of points of other classes minus log p of points outside the data."""
    wrong, beyond = _points_by_distance(runs[0], 3, 0.1, 0.2)
    label = torch.full((300,), 3)
    return _conditional_log_prob(runs[0], wrong, label[: len(wrong)]) - _conditional_log_prob(
        runs[0], beyond, label[: len(beyond)]
    )


def _class_radius(run: Run, label: int) -> float:
    """Mean distance from the origin of samples of a class, above that of its real points."""
    study, draws = run.study, run.study.draws(f"claims/radius {label}")
    x = study.generate(run.model, 4_000, draws, y=torch.full((4_000,), label))
    real, y = study.truth.sample(100_000, draws)
    return float(x.norm(dim=1).mean() - real[y == label].norm(dim=1).mean())


def _corner_share(runs: Runs) -> float:
    study, run = runs[0].study, runs[0]
    y = torch.arange(COUNT) % 5
    x = study.generate(run.model, COUNT, study.draws("claims/corners"), y=y)
    return float((Square().label(x) == 4).float().mean()) - study.truth.priors[4]


def _corner_inward(runs: Runs) -> float:
    return -_class_radius(runs[0], 4)


def _neighbour_outward(runs: Runs) -> float:
    return _class_radius(runs[0], 3)


CLAIMS = (
    Claim(
        "More sampling steps give a closer distribution, by C2ST",
        (REPORT,),
        _c2st_falls_with_steps,
        "smaller of the two falls of C2ST from 5 to 20 to 100 steps",
    ),
    Claim(
        "More sampling steps give a closer distribution, by sliced Wasserstein",
        (REPORT,),
        _distance_falls_with_steps,
        "smaller of the two falls of the distance from 5 to 20 to 100 steps",
    ),
    Claim(
        "The loss plateaus far above zero", (REPORT,), _final_loss, "final validation loss per coordinate", margin=0.5
    ),
    Claim(
        "… and it must: what is left is the posterior variance, not a fault of training",
        (REPORT,),
        _share_of_floor,
        "minus the final validation loss's excess over the floor .827, as a share of it",
        margin=-0.03,
    ),
    Claim(
        "One noise gives one end point under DDIM",
        (REPORT,),
        _one_end_point,
        "minus the largest difference",
        margin=-1e-4,
    ),
    Claim(
        "A small perturbation of the start gives anything from close to far end points",
        (REPORT,),
        _close_to_far,
        "99 % over 1 % quantile of the stretch of a perturbation of .1",
        margin=5,
    ),
    Claim(
        "A small perturbation (.1) can end in a quite different place of the square",
        (REPORT,),
        _furthest,
        "largest distance of end points over 400 starts",
        margin=0.5,
    ),
    Claim(
        "exp(3(t−1)) needs more training than exp(5(t−1))",
        (SHORT_SCHEDULES["exp3"], SHORT_SCHEDULES["exp5"]),
        _c2st_first_over_second,
        f"C2ST after {SHORT} updates, exp(3) minus exp(5)",
    ),
    Claim(
        "exp(3(t−1)) generalises better than exp(5(t−1)) given enough",
        (SCHEDULES["exp5"], SCHEDULES["exp3"]),
        _c2st_first_over_second,
        f"C2ST after {REPORT.steps} updates, exp(5) minus exp(3)",
    ),
    Claim(
        "exp(10(t−1)) converges sooner than exp(5(t−1))",
        (SHORT_SCHEDULES["exp5"], SHORT_SCHEDULES["exp10"]),
        _c2st_first_over_second,
        f"C2ST after {SHORT} updates, exp(5) minus exp(10)",
    ),
    Claim(
        "exp(10(t−1)) covers less than exp(5(t−1))",
        (SCHEDULES["exp10"], SCHEDULES["exp5"]),
        _coverage_second_over_first,
        f"coverage after {REPORT.steps} updates, exp(5) minus exp(10)",
    ),
    Claim(
        "log p(x|c) is higher in the class than in a wrong class",
        (CONDITIONAL,),
        _in_class_over_wrong,
        "mean log p of real points under their own minus under the next class, nats",
    ),
    Claim(
        "log p(x|c) is higher in a wrong class than outside the data, at equal distance from the class",
        (CONDITIONAL,),
        _wrong_over_outside,
        "mean log p given class 3, points of other classes minus points outside, both .1 to .2 away, nats",
    ),
    Claim(
        "Sampling equally per class over-represents the corners",
        (CONDITIONAL,),
        _corner_share,
        "share of samples in the corners above the true 8.8 %",
        margin=0.05,
    ),
    Claim(
        "The corner class drifts inward",
        (CONDITIONAL,),
        _corner_inward,
        "minus the shift of its mean distance from the origin",
    ),
    Claim(
        "The corner's neighbour drifts outward",
        (CONDITIONAL,),
        _neighbour_outward,
        "shift of its mean distance from the origin",
    ),
)
