"""What can a generator know of the digit? Findings about colour transfer, as claims.

The report's generator sees 7 × 7 pixels. What it can do at best is estimated by showing it the right answers: trained
on pairs, by the squared error, on coloured digits or on their strokes alone, in grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch.nn import functional

from genlib.claims import Claim
from genlib.data.images import images
from genlib.data.images.colours import digit_hues, in_ink, inked
from genlib.draws import Draws
from genlib.methods.colour_transfer import LocalGenerator
from genlib.studies.colour_transfer import ColourTransfer
from genlib.training import Trained

Run = Trained[ColourTransfer]
BEST = ColourTransfer.preset("best")
UPDATES, BATCH = 1_000, 32


@lru_cache(maxsize=8)
def taught(study: ColourTransfer, grey: bool) -> float:
    """Share of right hues that the report's generator reaches on test digits after being shown the right answers."""
    draws = study.draws("taught")
    with draws.default_generator():
        generator = LocalGenerator()
    train, part = images(study.data_set).train, study.part("evaluation")
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES)
    with torch.enable_grad():
        for step in range(UPDATES):
            rows = Draws(study.seed, "taught/batches", step).batch(len(train.x), BATCH)
            x, y = train.x[rows], train.y[rows]
            error = functional.mse_loss(generator(_seen(x, y, grey)), inked(x, digit_hues(y, "b")))
            optimizer.zero_grad()
            torch.autograd.backward(error)
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        x, y = part.x[:2_000], part.y[:2_000]
        parts = zip(torch.split(x, 500), torch.split(y, 500), strict=True)
        carried = torch.cat([generator(_seen(*some, grey)) for some in parts])
        return in_ink(carried, digit_hues(y, "b")).float().mean().item()


def _seen(x: torch.Tensor, y: torch.Tensor, grey: bool) -> torch.Tensor:
    return (x.float() / 255).expand(-1, 3, -1, -1) if grey else inked(x, digit_hues(y, "a"))


def _metric(name: str, sign: float = 1.0) -> Callable[[Sequence[Run]], float]:
    return lambda runs: sign * float(runs[0].evaluation.metrics[name])


CLAIMS = (
    Claim(
        "A generator that sees 7 × 7 pixels can name the digit's other colour: the ink tells the digit",
        (BEST,),
        lambda runs: taught(runs[0].study, False),
        "share of right hues of the report's generator, shown the answers",
        margin=0.99,
    ),
    Claim(
        "From the strokes alone it cannot: 7 × 7 pixels do not tell the digit",
        (BEST,),
        lambda runs: 1 - taught(runs[0].study, True),
        "share of wrong hues of the same generator, shown the answers but the digits in grey",
        margin=0.1,
    ),
    Claim(
        "Digits are kept",
        (BEST,),
        _metric("digit_kept"),
        "share that a judge reads as what they are (a colour matrix moves no stroke)",
        margin=0.97,
    ),
    Claim("Hues are right", (BEST,), _metric("hue_right"), "share of right hues, of ten", margin=0.99),
    Claim("Images are close to the truth", (BEST,), _metric("psnr"), "PSNR of all pixels, dB", margin=25),
    Claim(
        "There and back changes little", (BEST,), _metric("cycle_l1", -1.0), "−mean absolute difference", margin=-0.02
    ),
)
