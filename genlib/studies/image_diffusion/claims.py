"""What the report saw in a text-to-image model, as claims on ours, where every picture has a truth.

The judge is independent; a claim on what is right is one on shares of images, over all classes and colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genlib.claims import Claim
from genlib.data.prompts import COLOURS, Asked
from genlib.metrics.image_sets import overlap
from genlib.studies.image_diffusion.measures import INDIRECT, real_features, right
from genlib.studies.image_diffusion.study import ImageDiffusion
from genlib.trained import Trained

One = Trained[ImageDiffusion]
Compared = Sequence[One]

SMALL = ImageDiffusion.preset("small")
SHORT: dict[str, Any] = {"steps": 1_500, "samples": 400}
"""Updates and judged images of the models that differ in what they know of places."""
WITH_PLACES = ImageDiffusion.preset("small", **SHORT)
WITHOUT_PLACES = ImageDiffusion.preset("small", **SHORT, positions=False)
PATCHES = ImageDiffusion.preset("small", **SHORT, network="transformer", patch=4, width=96, blocks=3)
PATCHES_WITHOUT_PLACES = replace(PATCHES, positions=False)
COUNT = 250
"""Number of images behind each share."""
GUIDANCE = 3.0
"""Weight of the prompt against the empty one, in the claims on guidance."""
EVERYWHERE = (0.0, 1_000.0)
"""All levels of noise."""
MIDDLE = (1.0, 10.0)
"""Levels of noise at which a digit takes its form."""
SCALES = (("half as strong", 0.5), ("a fifth weaker", 0.8), ("a quarter stronger", 1.25), ("twice as strong", 2.0))
"""Wrong strengths of the noise that sampling starts from, in words and as multiples of the right one."""


def metric(name: str, run: int = 0) -> Callable[[Compared], float]:
    """A metric of a run's evaluation."""
    return lambda runs: float(runs[run].evaluation.metrics[name])


def _more(name: str, first: int, second: int) -> Callable[[Compared], float]:
    """By how much a metric of one run exceeds that of another."""
    return lambda runs: metric(name, first)(runs) - metric(name, second)(runs)


@lru_cache(maxsize=1 + len(SCALES))
def _both_right(run: One, **fields: Any) -> float:
    """The share of prompted images whose class and colour are right, drawn with other evaluation fields."""
    study = replace(run.study, **fields)
    tokens, asked = study.prompts(COUNT, study.draws("claims/prompts"))
    x = study.generate(run.model, tokens, study.draws("claims/images"))
    return right(study.judge(), x, asked).shares()["both_right"]


class Guided(NamedTuple):
    """What guidance gives, and what it takes."""

    both_right: float
    recall: float


@lru_cache(maxsize=3)
def _guided(run: One, guidance: float = GUIDANCE, levels: tuple[float, float] = EVERYWHERE) -> Guided:
    """Prompted images under guidance: the share that is right, and their recall of as many real ones."""
    study = replace(run.study, guidance=guidance, guidance_from=levels[0], guidance_to=levels[1])
    judge, draws = study.judge(), study.draws("claims/guidance")
    tokens, asked = study.prompts(COUNT, draws)
    x = study.generate(run.model, tokens, draws.fork("images"))
    real, _ = real_features(study.images.evaluation.to(x.device), judge, COUNT, draws)
    return Guided(right(judge, x, asked).shares()["both_right"], overlap(real, judge.features(x)).recall)


def _lost(scale: float) -> Callable[[Compared], float]:
    """What a wrong strength of the first noise costs."""
    return lambda runs: _both_right(runs[0]) - _both_right(runs[0], start_scale=scale)


@torch.no_grad()
def _seen(run: One, tokens: Tensor) -> Tensor:
    """The images that are seen in the noise at each step, of prompts."""
    _, seen = run.study.path(run.model, tokens, run.study.draws("claims/path"))
    return seen


def _nearing(runs: Compared) -> float:
    """How often a step brings the image that is seen nearer to the end."""
    study = runs[0].study
    seen = _seen(runs[0], study.prompts(COUNT, study.draws("claims/prompts"))[0])
    apart = (seen[:-1] - seen[-1]).flatten(2).norm(dim=2)
    return (apart[1:] <= apart[:-1]).float().mean().item()


def _certain(runs: Compared) -> float:
    """The share of the steps after which nine in ten images keep their class, where no prompt names one."""
    study = runs[0].study
    seen = _seen(runs[0], study.tokens([""] * COUNT).to(study.draws("claims").device))
    classes = torch.stack([study.judge().classes(study.pixels(x)) for x in seen])
    settled = (classes == classes[-1]).flip(0).cumprod(0).flip(0)  # and stays so
    first = settled.float().argmax(0).float() / (len(classes) - 1)
    return first.quantile(0.9).item()


def _share_right(run: One, text: str, wanted: str) -> float:
    study = run.study
    x = study.generate(run.model, study.tokens([text] * COUNT), study.draws(f"claims/{text}"))
    asked = Asked(*(_filled(value, x) for value in study.captions.asked(wanted)))
    return right(study.judge(), x, asked).shares()["both_right"]


def _filled(value: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), value, device=x.device)


def _hints_above_chance(runs: Compared) -> float:
    """How often hints are right, on average, above guessing: one digit of ten, one colour of eight."""
    shares = [_share_right(runs[0], hint, direct) for hint, direct in INDIRECT]
    asked = [runs[0].study.captions.asked(direct) for _, direct in INDIRECT]
    chance = [1 / 10 if y >= 0 else 1 / len(COLOURS) for y, _ in asked]
    return (sum(shares) - sum(chance)) / len(INDIRECT)


def _worst_direct(runs: Compared) -> float:
    """How often the worst of the direct prompts is right."""
    return min(_share_right(runs[0], direct, direct) for _, direct in INDIRECT)


SHARE = "share of images"
CLAIMS = (
    Claim(
        "Noise leaves step by step: the image that is seen in it nears the end",
        (SMALL,),
        _nearing,
        f"share of steps by which it comes nearer, of {COUNT} images",
        margin=0.95,
    ),
    Claim(
        "Without a text too the digit is certain before the last third of the steps",
        (SMALL,),
        lambda runs: -_certain(runs),
        "−share of the steps after which nine in ten images keep their digit, says the judge",
        margin=-2 / 3,
    ),
    Claim(
        "Images follow their text",
        (SMALL,),
        metric("both_right"),
        f"{SHARE} whose digit and colour are right",
        margin=0.9,
    ),
    Claim(
        "Without a text they are random",
        (SMALL,),
        metric("class_entropy"),
        "entropy of the digits, in nats (ten even ones: 2.303)",
        margin=math.log(10) - 0.1,
    ),
    Claim(
        "... though no less plausible",
        (SMALL,),
        lambda runs: metric("precision/empty")(runs) - metric("precision")(runs),
        "precision of the empty prompt − precision with prompts",
        margin=-0.05,
    ),
    *(
        Claim(
            f"A first noise {words} spoils images",
            (SMALL,),
            _lost(scale),
            f"{SHARE} that are right with the right noise − that share with × {scale:g}",
            margin=0.1,
        )
        for words, scale in SCALES
    ),
    Claim(
        "Without places the transformer's pictures fall apart",
        (PATCHES, PATCHES_WITHOUT_PLACES),
        _more("precision", 0, 1),
        "difference of precision, with − without, after 1,500 updates",
        margin=0.3,
    ),
    Claim(
        "... the U-Net's hardly",
        (WITH_PLACES, WITHOUT_PLACES),
        _more("precision", 1, 0),
        "difference of precision, without − with, after 1,500 updates",
        margin=-0.05,
    ),
    Claim(
        "Prompts must name their answer: hints, whose words no caption has, guess",
        (SMALL,),
        lambda runs: -_hints_above_chance(runs),
        f"−(mean {SHARE} that are right with {len(INDIRECT)} hints − chance)",
        margin=-0.1,
    ),
    Claim(
        "... where direct prompts do not",
        (SMALL,),
        _worst_direct,
        f"{SHARE} that are right, of the worst of {len(INDIRECT)} direct prompts",
        margin=0.85,
    ),
    Claim(
        "Words seen only in other pairs combine",
        (SMALL,),
        metric("held_out/both_right"),
        f"{SHARE} of the ten held-out pairs whose digit and colour are right",
        margin=0.9,
    ),
    Claim(
        "Guidance buys accuracy",
        (SMALL,),
        lambda runs: _guided(runs[0]).both_right - _guided(runs[0], 1.0).both_right,
        f"{SHARE} that are right with guidance {GUIDANCE:g} − with 1",
    ),
    Claim(
        "... with diversity",
        (SMALL,),
        lambda runs: _guided(runs[0], 1.0).recall - _guided(runs[0]).recall,
        f"recall with guidance 1 − with {GUIDANCE:g}, of {COUNT} images",
        margin=0.05,
    ),
    Claim(
        "... less of it where it acts on middling noise alone",
        (SMALL,),
        lambda runs: _guided(runs[0], levels=MIDDLE).recall - _guided(runs[0]).recall,
        f"recall with guidance {GUIDANCE:g} at noise of {MIDDLE[0]:g} to {MIDDLE[1]:g} − at all levels, {COUNT} images",
    ),
)
