"""What an independent judge makes of prompted images: whether they follow their prompts, and how real a set of them is.

Accuracy can be bought with diversity (guidance does it), so accuracies stand beside precision, recall and the spread of
hues. The judge sees no colour: an image's brightest channel is all it reads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genlib.data.images import Labelled
from genlib.data.images.colours import hue_of
from genlib.data.prompts import Asked, deviation_of, is_colour
from genlib.draws import Draws
from genlib.metrics.image_sets import frechet, overlap
from genlib.studies.image_diffusion.judges import Judge

COLOURED = 0.5
"""An image is in ink if its darkest channel has less than this share of the mean of its brightest."""

INDIRECT = (
    ("the warmest digit", "a red digit"),
    ("a digit of the sky", "a blue digit"),
    ("the number of legs of a spider", "eight"),
    ("the number of wheels of a tricycle", "three"),
)
"""Prompts that hint at their answer, and prompts that name it."""


class Right(NamedTuple):
    """Which images show the class that was asked for, which the colour."""

    digit: Tensor
    hue: Tensor

    def shares(self) -> dict[str, float]:
        """The share of images that are right, in each and in both."""
        parts = {"digit_right": self.digit, "hue_right": self.hue, "both_right": self.digit & self.hue}
        return {name: part.float().mean().item() for name, part in parts.items()}


def right(judge: Judge, x: Tensor, asked: Asked) -> Right:
    """Whether images in [0, 1] show what was asked for. What was left open is right whatever it is."""
    digit = (judge.classes(x) == asked.y) | (asked.y < 0)
    mean = x.mean((2, 3))
    hue = is_colour(hue_of(x), asked.colour.clamp_min(0)) & (mean.amin(1) < COLOURED * mean.amax(1))
    return Right(digit, hue | (asked.colour < 0))


def entropy(classes: Tensor, count: int = 10) -> float:
    """The entropy of the classes of images, in nats; ln 10 where ten are equally frequent."""
    share = torch.bincount(classes, minlength=count).double() / len(classes)
    return float(-(share * share.clamp_min(1e-12).log()).sum())


def hue_spread(x: Tensor, colour: Tensor) -> float:
    """How far hues lie from the middle of their colour's interval, over how far they do in training: 1 is right."""
    return deviation_of(hue_of(x), colour).square().mean().sqrt().item()


def real_features(part: Labelled, judge: Judge, count: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """The judge's features of two sets of `count` real images that neither it nor the model has trained on."""
    rows = draws.fork("real").uniform(len(part.x)).argsort()[: 2 * count]
    features = judge.features(part.x[rows].float() / 255)
    return features[:count], features[count:]


def closeness(real: Tensor, other: Tensor, features: Tensor, empty: Tensor) -> dict[str, float]:
    """How close generated images are to real ones, beside how close other real ones are, in the judge's features.

    Arguments:
        real, other: features of two sets of real images.
        features: features of images whose prompts named all there is.
        empty: features of images of the empty prompt.

    All four are of equally many images: what is compared depends on their number.
    """
    assert len(real) == len(other) == len(features) == len(empty)
    metrics = {"frechet": frechet(real, features), "frechet_floor": frechet(real, other)}
    for name, rows in (("", features), ("/real", other), ("/empty", empty)):
        shared = overlap(real, rows)
        metrics |= {f"precision{name}": shared.precision, f"recall{name}": shared.recall}
    return metrics
