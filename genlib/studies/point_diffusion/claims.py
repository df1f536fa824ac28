"""What the report found about diffusion on points, as claims."""

from __future__ import annotations

from genlib.claims import Claim
from genlib.methods import diffusion
from genlib.studies.point_diffusion.effects import (
    close_to_far,
    corner_share,
    covers_less,
    drift,
    excess_over_floor,
    final,
    fits_data,
    furthest,
    in_class_over_wrong,
    learns_better,
    looks_better,
    more_steps,
    more_training,
    one_end_point,
    wrong_over_outside,
    wrong_over_outside_unmatched,
)
from genlib.studies.point_diffusion.study import PointDiffusion
from genlib.studies.points.claims import c2st_to_data, distance_to_data, gain

REPORT = PointDiffusion()
SHORT = REPORT.steps // 8
LONG_RUNS = {name: PointDiffusion(schedule=name) for name in ("exp3", "exp5", "exp10")}
SHORT_RUNS = {name: PointDiffusion(schedule=name, steps=SHORT) for name in ("exp3", "exp5", "exp10")}
BY_CLASS = PointDiffusion(classes=5)

STARTS: tuple[tuple[diffusion.StartName, str], ...] = (
    ("standard", "the report's noise"),
    ("matched", "the class's own noise"),
)

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
    Claim("The loss plateaus far above zero", (REPORT,), final("validation/loss"), "final validation loss", margin=0.5),
    Claim("… although the samples fit", (REPORT,), fits_data, ".5 minus C2ST", margin=-0.05),
    *(
        Claim(
            f"… and it must: what is left is the posterior variance, {floor} for {name}",
            (LONG_RUNS[name],),
            excess_over_floor,
            "minus the excess over the floor, as a share of it",
            margin=-0.03,
        )
        for name, floor in (("exp3", ".725"), ("exp5", ".827"), ("exp10", ".913"))
    ),
    Claim(
        "One noise gives one end point under DDIM",
        (REPORT,),
        one_end_point,
        "minus the largest difference",
        margin=-1e-4,
    ),
    Claim(
        "A small perturbation of the start gives end points from close to far",
        (REPORT,),
        close_to_far,
        "99 % over 1 % quantile of how far a perturbation of .1 moves the end",
        margin=5,
    ),
    Claim(
        "A small perturbation (.1) can end in a quite different place",
        (REPORT,),
        furthest,
        "furthest move of an end point, of 400 starts",
        margin=0.5,
    ),
    Claim(
        "exp(3(t−1)) needs more training than exp(5(t−1))",
        (SHORT_RUNS["exp3"], LONG_RUNS["exp3"], SHORT_RUNS["exp5"], LONG_RUNS["exp5"]),
        more_training,
        f"gain in C2ST above perfect from {SHORT} to {REPORT.steps:,} updates, exp3 minus exp5",
    ),
    Claim(
        "exp(3(t−1)) needs more sampling steps than exp(5(t−1))",
        (LONG_RUNS["exp3"], LONG_RUNS["exp5"]),
        more_steps,
        "gain in C2ST from 5 to 50 sampling steps, exp3 minus exp5",
    ),
    Claim(
        f"exp(3(t−1)) learns better than exp(5(t−1)) given {REPORT.steps:,} updates",
        (LONG_RUNS["exp3"], LONG_RUNS["exp5"]),
        learns_better,
        "C2ST above the perfect denoiser's, exp5 minus exp3",
    ),
    Claim(
        f"exp(3(t−1)) gives better samples than exp(5(t−1)) given {REPORT.steps:,} updates",
        (LONG_RUNS["exp3"], LONG_RUNS["exp5"]),
        looks_better,
        "C2ST, exp5 minus exp3 (exp3 ends at σ = .05, and shows it)",
    ),
    Claim(
        "exp(10(t−1)) converges sooner than exp(5(t−1))",
        (SHORT_RUNS["exp10"], SHORT_RUNS["exp5"]),
        learns_better,
        f"C2ST above the perfect denoiser's after {SHORT} updates, exp5 minus exp10",
    ),
    Claim(
        "exp(10(t−1)) covers less than exp(5(t−1))",
        (LONG_RUNS["exp10"], LONG_RUNS["exp5"]),
        covers_less,
        "coverage, exp5 minus exp10",
    ),
    Claim(
        "log p(x|c) is higher in the class than in a wrong class",
        (BY_CLASS,),
        in_class_over_wrong,
        "log p of real points under their own class minus under the next, nats",
    ),
    Claim(
        "log p(x|c) is higher in a wrong class than outside the data",
        (BY_CLASS,),
        wrong_over_outside_unmatched,
        "log p given class 2: points of other classes minus points around the square, nats",
    ),
    *(
        Claim(
            f"… at equal distances from the class too, {low} to {high}",
            (BY_CLASS,),
            wrong_over_outside(low, high),
            "log p given class 3: points of other classes minus points outside, in pairs, nats",
        )
        for low, high in ((0.02, 0.07), (0.1, 0.2))
    ),
    Claim(
        "Sampling equally per class over-represents the corners",
        (BY_CLASS,),
        corner_share,
        "share of samples in the corners above the true .088",
        margin=0.05,
    ),
    *(
        Claim(
            f"{text}, sampling from {words}",
            (BY_CLASS,),
            drift(label, outward, start),
            "shift of the mean distance from 0",
        )
        for start, words in STARTS
        for text, label, outward in (
            ("The corner class drifts inward", 4, -1.0),
            ("The corner's neighbour drifts outward", 3, 1.0),
        )
    ),
)
