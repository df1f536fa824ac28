"""Colour for grey digits: an ink of any hue, or each digit its own hue in each of two domains. Batched tensor code."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

Domain = Literal["a", "b"]


def rgb(hue: Float[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    """Fully saturated, fully bright colours of hues in [0, 1): red at 0, green at 1/3, blue at 2/3.

    Example:
        >>> rgb(torch.tensor([0.0, 1 / 3])).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    distance = (hue.unsqueeze(-1) * 6 + hue.new_tensor([0.0, 4.0, 2.0])) % 6  # from each colour's opposite edge
    return ((distance - 3).abs() - 1).clamp(0, 1)


def inked(grey: UInt8[Tensor, "n 1 h w"], hue: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
    """Digits in ink of a hue on black, in [0, 1]."""
    return grey.float() / 255 * rgb(hue)[:, :, None, None]


def as_bytes(x: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Images in [0, 1] as bytes; values beyond are clipped."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def digit_hues(y: Int64[Tensor, " n"], domain: Domain) -> Float[Tensor, " n"]:
    """The hue of each digit in a domain: one of ten, evenly spaced; every digit has another in `b` than in `a`.

    Example:
        >>> digit_hues(torch.tensor([0, 1]), "a").tolist() != digit_hues(torch.tensor([0, 1]), "b").tolist()
        True
    """
    place = y if domain == "a" else (3 * y + 5) % 10
    return place.float() / 10


def hue_of(x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """The hue of an image's ink: the angle of its mean colour around the grey axis, in [0, 1).

    Example:
        >>> image = inked(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), torch.tensor([0.4]))
        >>> round(float(hue_of(image)), 4)
        0.4
    """
    red, green, blue = x.mean((2, 3)).unbind(1)
    # Hue by hexagon, not by circle, so that it is the inverse of `rgb`.
    high, low = torch.stack((red, green, blue)).amax(0), torch.stack((red, green, blue)).amin(0)
    span = (high - low).clamp_min(1e-12)
    sector = torch.where(
        red == high,
        (green - blue) / span,
        torch.where(green == high, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    return (sector / 6) % 1


def in_ink(x: Float[Tensor, "n 3 h w"], hue: Float[Tensor, " n"], tolerance: float = 0.05) -> Bool[Tensor, " n"]:
    """Whether images are in ink of a hue: within `tolerance` of that hue, and more coloured than grey.

    Example:
        >>> image = inked(torch.full((2, 1, 4, 4), 255, dtype=torch.uint8), torch.tensor([0.4, 0.4]))
        >>> in_ink(torch.stack((image[0], 0.5 + 0.1 * image[1])), torch.tensor([0.42, 0.4])).tolist()
        [True, False]
    """
    mean = x.mean((2, 3))
    coloured = mean.amin(1) < 0.5 * mean.amax(1)
    return coloured & (hue_distance(hue_of(x), hue) < tolerance)


def hue_distance(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """How far apart two hues are, around the circle: at most ½."""
    apart = (a - b).abs() % 1
    return torch.minimum(apart, 1 - apart)
