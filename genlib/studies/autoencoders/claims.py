"""What the report found about continuous, discrete and joint codes, as claims, and the controls that it lacks.

All train for ten epochs, a third of the report's. The controls have as many latent variables as the joint model, 22,
all of one kind, and within half a per cent as many weights: where the joint model's lead is one of capacity, it is lost
against them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from genlib.claims import Claim
from genlib.data.images.colours import hue_distance
from genlib.needs import needed
from genlib.studies.autoencoders.continuous import ContinuousVAE
from genlib.studies.autoencoders.discrete import DiscreteVAE
from genlib.studies.autoencoders.joint import JointVAE
from genlib.studies.autoencoders.measures import chunks
from genlib.studies.autoencoders.study import Autoencoder
from genlib.trained import Trained

Compared = Sequence[Trained[Any]]
EPOCHS: dict[str, Any] = {"steps": 4_688, "validate_every": 1_172}
CONTINUOUS = ContinuousVAE.preset("report", **EPOCHS)
DISCRETE = DiscreteVAE.preset("report", **EPOCHS)
JOINT = JointVAE.preset("report", **EPOCHS)
WIDE_CONTINUOUS = ContinuousVAE.preset("report", **EPOCHS, continuous=22, hidden=(529, 256))
WIDE_DISCRETE = DiscreteVAE.preset("report", **EPOCHS, variables=22, hidden=(510, 256))


def _more(metric: str, sign: float = 1.0) -> Callable[[Compared], float]:
    """By how much a metric of the first run exceeds that of the second, times `sign`."""

    def effect(runs: Compared) -> float:
        first, second = (float(run.evaluation.metrics[metric]) for run in runs)
        return sign * (first - second)

    return effect


@torch.no_grad()
def neighbours(run: Trained[Any], count: int = 2_000, nearest: int = 10) -> tuple[float, float]:
    """How ordered the plane of codes is: of an image's ten nearest neighbours, the share that show its digit, and how
    far their hues are from its own (chance: .25).
    """
    rows = {name: tensor[:count] for name, tensor in run.study.part("evaluation").items()}
    z = torch.cat([run.model.encode(run.study.image(chunk)).mean for chunk in chunks(rows)])
    near = torch.cdist(z, z).topk(nearest + 1, largest=False).indices[:, 1:]
    same = (rows["y"][near] == rows["y"].unsqueeze(1)).float().mean().item()
    apart = hue_distance(rows["hue"][near].flatten(), rows["hue"].repeat_interleave(nearest)).mean().item()
    return same, apart


def _order(which: int) -> Callable[[Compared], float]:
    """By how much the continuous model's plane is more ordered than the joint model's."""

    def effect(runs: Compared) -> float:
        joint, continuous = (neighbours(run)[which] for run in runs)
        return continuous - joint if which == 0 else joint - continuous

    return effect


def _loss(other: Autoencoder, name: str) -> Claim:
    text = f"The joint model has a lower test loss than {name}"
    return Claim(text, (JOINT, other), _more("test/loss", -1.0), "difference of the test loss, nats per image")


def _clarity(first: Autoencoder, second: Autoencoder, text: str) -> tuple[Claim, Claim]:
    pair = (first, second)
    return (
        Claim(f"{text}: samples", pair, _more("clarity"), "difference of a judge's mean confidence in 1,000 samples"),
        Claim(
            f"{text}: controlled generation",
            pair,
            _more("controlled_digit"),
            "difference of the share of 100 images that show the digit asked for",
        ),
    )


def _further_out(study: Autoencoder, variance: float, text: str) -> Claim:
    @torch.no_grad()
    def effect(runs: Compared) -> float:
        run, judge = runs[0], needed(runs[0].study, "judge")

        def clarity(scale: float) -> float:
            codes = run.study.prior(1_000, run.study.draws("claims/prior"), scale=scale)
            return judge.probabilities(run.model.decode(*codes).sigmoid()).amax(1).mean().item()

        return clarity(variance**0.5) - clarity(1.0)

    measure = f"difference of a judge's mean confidence in 1,000 samples, variance {variance:g} against 1"
    return Claim(text, (study,), effect, measure)


@torch.no_grad()
def _relaxation(runs: Compared) -> float:
    """By how much the loss of whole codes exceeds that of the relaxed ones of training, on the same test images."""
    study, model = runs[0].study, runs[0].model
    rows = study.part("evaluation")
    whole_loss = study.whole_loss(model, rows, study.draws("claims/whole"))["loss"]
    parts = chunks(rows)
    relaxed = [
        sum(
            term.item()
            for term in study.loss(model, chunk, study.draws("claims/relaxed", study.steps + k)).terms.values()
        )
        for k, chunk in enumerate(parts)
    ]
    sizes = [len(chunk["x"]) for chunk in parts]
    return float(whole_loss - sum(loss * size for loss, size in zip(relaxed, sizes, strict=True)) / sum(sizes))


CONTINUOUS_CLAIMS = (
    _further_out(CONTINUOUS, 5, "The continuous plane is untidy: samples are clearer at variance 5"),
    _further_out(CONTINUOUS, 25, "The continuous plane is untidy: samples are clearer at deviation 5"),
)
DISCRETE_CLAIMS = (
    *_clarity(DISCRETE, CONTINUOUS, "The discrete model is clearer than the continuous one"),
    *_clarity(DISCRETE, WIDE_CONTINUOUS, "The discrete model is clearer than a continuous one of its capacity"),
    Claim(
        "Relaxed draws flatter the loss: with whole codes it is higher",
        (DISCRETE,),
        _relaxation,
        "difference of the test loss at the last temperature, nats per image",
    ),
)
JOINT_CLAIMS = (
    _loss(CONTINUOUS, "the continuous one"),
    _loss(DISCRETE, "the discrete one"),
    _loss(WIDE_CONTINUOUS, "a continuous one of its capacity (22 dimensions)"),
    _loss(WIDE_DISCRETE, "a discrete one of its capacity (22 variables)"),
    *_clarity(JOINT, DISCRETE, "The joint model is clearer than the discrete one"),
    *_clarity(JOINT, WIDE_DISCRETE, "The joint model is clearer than a discrete one of its capacity"),
    *_clarity(JOINT, WIDE_CONTINUOUS, "The joint model is clearer than a continuous one of its capacity"),
    _further_out(JOINT, 5, "The joint model's plane is untidy: samples are clearer at variance 5"),
    _further_out(JOINT, 25, "The joint model's plane is untidy: samples are clearer at deviation 5"),
    Claim(
        "The joint model's plane is less ordered than the continuous model's: digits",
        (JOINT, CONTINUOUS),
        _order(0),
        "difference of the share of an image's ten nearest neighbours that show its digit",
    ),
    Claim(
        "The joint model's plane is less ordered than the continuous model's: hues",
        (JOINT, CONTINUOUS),
        _order(1),
        "difference of the neighbours' mean distance in hue, in turns",
    ),
)
