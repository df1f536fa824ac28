"""What the report found about diffusion on the spiral, as claims."""

from __future__ import annotations

from collections.abc import Sequence

from genlib.claims import Claim
from genlib.metrics import c2st, sliced_wasserstein
from genlib.studies.spiral_diffusion.study import SpiralDiffusion, reverse_with_predictions
from genlib.trained import Trained

One = Trained[SpiralDiffusion]
Compared = Sequence[One]
REPORT = SpiralDiffusion.preset("report")


def _from_chance(runs: Compared) -> float:
    """Minus how far the C2ST of 10,000 samples a side is above chance."""
    run = runs[0]
    x = run.study.generate(run.model, 10_000, run.study.draws("claims/samples"))
    real = run.study.truth.sample(10_000, run.study.draws("claims/real")).x
    return 0.5 - c2st(real.numpy(), x.numpy(), seed=run.study.seed)


def _distances(run: One) -> list[float]:
    """Sliced Wasserstein between x̂₀ and the data, from the first reverse steps to the last."""
    _, clean, _ = reverse_with_predictions(run.study, run.model, 10_000, "claims/denoising")
    real = run.study.truth.sample(10_000, run.study.draws("claims/real")).x
    return [sliced_wasserstein(x, real) for x in clean]


def _fall(runs: Compared) -> float:
    distances = _distances(runs[0])
    return distances[0] - distances[-1]


CLAIMS = (
    Claim(
        "Samples from pure noise match the data",
        (REPORT,),
        _from_chance,
        ".5 minus C2ST, 10,000 samples a side",
        margin=-0.02,
    ),
    Claim(
        "The predicted x̂₀ improves along the reverse steps",
        (REPORT,),
        _fall,
        "fall of the sliced Wasserstein distance of x̂₀ from first to last step",
    ),
)
