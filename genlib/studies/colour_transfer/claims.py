"""What can a generator know of the digit? Findings about colour transfer, as claims.

The report's generator sees 7 × 7 pixels. How much these say about the digit is estimated by convolutions of its shape
that are taught with labels, on coloured digits or on their strokes alone, in grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from genlib.adam import Adam
from genlib.claims import Claim
from genlib.data.images.colours import digit_hues, inked
from genlib.draws import Draws
from genlib.methods.colour_transfer import LocalGenerator
from genlib.studies.colour_transfer.study import ColourTransfer
from genlib.trained import Trained

Compared = Sequence[Trained[ColourTransfer]]
BEST = ColourTransfer.preset("best")
UPDATES, BATCH = 1_000, 32


@lru_cache(maxsize=8)
def readable_share(study: ColourTransfer, grey: bool) -> float:
    """Share of the bright pixels of test digits whose digit is read rightly by convolutions that see as little as the
    report's generator: the same ones, with ten logits a pixel, taught with labels.
    """
    with study.draws("told").default_generator():
        net = nn.Sequential(*[*LocalGenerator().net.children()][:-1], nn.Conv2d(40, 10, 3, padding=1))
    train, part = study.images.train, study.images.evaluation
    optimizer = Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES)
    with torch.enable_grad():
        for step in range(UPDATES):
            rows = Draws(study.seed, "told/batches", step).batch(len(train.x), BATCH)
            loss = functional.cross_entropy(*_pixels(net, train.x[rows], train.y[rows], grey))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    right = []
    with torch.no_grad():
        for x, y in zip(torch.split(part.x[:2_000], 500), torch.split(part.y[:2_000], 500), strict=True):
            logits, digits = _pixels(net, x, y, grey)
            right.append(logits.argmax(1) == digits)
    return torch.cat(right).float().mean().item()


def _pixels(net: nn.Module, x: Tensor, y: Tensor, grey: bool) -> tuple[Tensor, Tensor]:
    """Logits of every bright pixel, and the digit it belongs to."""
    images = (x.float() / 255).expand(-1, 3, -1, -1) if grey else inked(x, digit_hues(y, "a"))
    bright = x[:, 0] > 127
    return net(images).movedim(1, -1)[bright], y[:, None, None].expand_as(bright)[bright]


def _metric(name: str, sign: float = 1.0) -> Callable[[Compared], float]:
    return lambda runs: sign * float(runs[0].evaluation.metrics[name])


CLAIMS = (
    Claim(
        "What sees 7 × 7 pixels can know the digit: its ink tells it",
        (BEST,),
        lambda runs: readable_share(runs[0].study, False),
        "share of bright pixels told rightly, by the report's convolutions taught with labels",
        margin=0.99,
    ),
    Claim(
        "From the strokes alone, in grey, it cannot",
        (BEST,),
        lambda runs: 1 - readable_share(runs[0].study, True),
        "share of bright pixels told wrongly, by the same",
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
