"""What an independent judge makes of prompted images: whether they follow their prompts, and how real a set of them is.

Accuracy can be bought with diversity (guidance does it), so every accuracy stands beside precision and recall.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genlib.data.images import ImageSet
from genlib.data.images.colours import hue_of
from genlib.data.prompts import Asked, is_colour
from genlib.draws import Draws
from genlib.metrics.image_sets import frechet, overlap
from genlib.nets.classifier import Classifier

COLOURED = 0.5
"""Share of its brightest channel that the darkest channel of an image in ink has at most."""


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


def right(judge: Classifier, x: Tensor, asked: Asked) -> Right:
    """Whether images in [0, 1] show what was asked for. What was left open is right whatever it is."""
    digit = (judge.digits(x) == asked.y) | (asked.y < 0)
    mean = x.mean((2, 3))
    hue = is_colour(hue_of(x), asked.colour.clamp_min(0)) & (mean.amin(1) < COLOURED * mean.amax(1))
    return Right(digit, hue | (asked.colour < 0))


def entropy(classes: Tensor, count: int = 10) -> float:
    """The entropy of the classes of images, in nats; ln 10 where ten are equally frequent."""
    share = torch.bincount(classes, minlength=count).double() / len(classes)
    return float(-(share * share.clamp_min(1e-12).log()).sum())


def real_features(images: ImageSet, judge: Classifier, count: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """The judge's features of two sets of `count` real images, of the test images and of those trained on."""
    sets = []
    for name, part in (("test", images.evaluation), ("train", images.train)):
        rows = draws.fork(f"real {name}").uniform(len(part.x)).argsort()[:count].cpu()
        sets.append(judge.features(part.x[rows].to(draws.device).float() / 255))
    return sets[0], sets[1]


def closeness(real: Tensor, other: Tensor, features: Tensor, empty: Tensor) -> dict[str, float]:
    """How close generated images are to real ones, beside how close other real ones are, in the judge's features.

    Arguments:
        real, other: features of two sets of real images.
        features: features of images whose prompts named all there is.
        empty: features of images of the empty prompt.
    """
    metrics = {"frechet": frechet(real, features), "frechet_floor": frechet(real, other)}
    for name, rows in (("", features), ("/real", other), ("/empty", empty)):
        shared = overlap(real, rows)
        metrics |= {f"precision{name}": shared.precision, f"recall{name}": shared.recall}
    return metrics
