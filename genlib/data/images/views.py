"""Random views of images: crops, flips, colour jitter, grey, solarisation and blur, for a whole batch at once.

Everything is tensor code on the images' device; each image has its own random numbers. The formulas are torchvision's
(which applies them image by image), with two differences: the four parts of the jitter come in a fixed order, and a
blur renormalises its kernel at the border instead of mirroring the image there.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from genlib.draws import Draws

Images = Float[Tensor, "n 3 h w"]
TRIES = 10
"""Boxes that are proposed for a crop; where none fits, the whole image is taken."""
IN_CACHE = 128
"""Number of images that a CPU changes together, so that they stay in its cache from one change to the next."""
TINY = 1e-12
"""Least span of colours that is divided by."""
GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a colour."""


def views(
    x: UInt8[Tensor, "n c h w"],
    draws: Draws,
    *,
    size: int,
    least_area: float = 0.2,
    flip: float = 0.5,
    jitter: float = 0.8,
    strengths: tuple[float, ...] = (0.4, 0.4, 0.2, 0.1),
    grey: float = 0.2,
    solarise: float = 0.0,
    blur: float = 0.0,
) -> Float[Tensor, "n 3 size size"]:
    """One random view of every image, in [0, 1].

    Arguments:
        size: height and width of the views.
        least_area: smallest share of the image's area that a crop keeps; the largest is all of it.
        flip, jitter, grey, solarise, blur: probability of each change.
        strengths: largest change of brightness, contrast, saturation (as shares) and hue (in turns).

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> views(images, Draws(0, "views"), size=24).shape
        torch.Size([2, 3, 24, 24])
    """
    n, _, height, width = x.shape
    chance = draws.uniform(n * draws.world, 5)
    boxes = crop_boxes(draws, n, height, width, least_area)
    change = (2 * draws.uniform(n * draws.world, 4) - 1) * chance.new_tensor(strengths) * (chance[:, 1:2] < jitter)
    sigma = 0.1 + 1.9 * draws.uniform(n * draws.world)

    def part(rows: slice) -> Images:
        y = cropped(x[rows], boxes[rows], size, chance[rows, 0] < flip).expand(-1, 3, -1, -1)
        if jitter:
            y = jittered(y, change[rows])
        if grey:
            y = blended_with_grey(y, _each(chance[rows, 2] >= grey).to(y.dtype))
        if blur:
            y = torch.where(_each(chance[rows, 3] < blur), blurred(y, sigma[rows]), y)
        if solarise:
            y = torch.where(_each(chance[rows, 4] < solarise) & (y >= 0.5), 1 - y, y)
        return y

    at_once = n if x.is_cuda else IN_CACHE
    return torch.cat([part(slice(first, first + at_once)) for first in range(0, n, at_once)])


def crop_boxes(draws: Draws, n: int, height: int, width: int, least_area: float) -> Int64[Tensor, "n 4"]:
    """Boxes of random area and of aspect 3:4 to 4:3, as top, left, height, width in pixels."""
    u = draws.uniform(n * draws.world, 2, TRIES)
    area = (least_area + (1 - least_area) * u[:, 0]) * height * width
    aspect = torch.exp((2 * u[:, 1] - 1) * math.log(4 / 3))
    wide, high = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (wide <= width) & (high <= height)
    first = fits.float().argmax(1, keepdim=True)  # the first that fits
    none = ~fits.any(1)
    wide = torch.where(none, width, wide.gather(1, first)[:, 0]).clamp_min(1)
    high = torch.where(none, height, high.gather(1, first)[:, 0]).clamp_min(1)
    place = draws.uniform(n * draws.world, 2)
    top = (place[:, 0] * (height - high + 1)).long().clamp(max=height - 1)
    left = (place[:, 1] * (width - wide + 1)).long().clamp(max=width - 1)
    return torch.stack((top, left, high, wide), 1)


def cropped(
    x: UInt8[Tensor, "n c h w"], boxes: Int64[Tensor, "n 4"], size: int, flipped: Tensor | None = None
) -> Float[Tensor, "n c size size"]:
    """Boxes of images, resized bilinearly with antialiasing, some of them flipped; in [0, 1].

    Both directions are a product with a small matrix per image, so crop, resize and flip cost one pass.
    """
    top, left, high, wide = boxes.unbind(1)
    n, c, height, width = x.shape
    columns = _resampling(left, wide, width, size, flipped)
    rows = _resampling(top, high, height, size).div_(255)
    y = torch.bmm(x.to(rows.dtype).reshape(n, c * height, width), columns.mT)  # n, c·h, size
    return rows.unsqueeze(1) @ y.reshape(n, c, height, size)


def resized(x: UInt8[Tensor, "n c h w"], size: int) -> Float[Tensor, "n 3 size size"]:
    """Whole images at another size, in [0, 1]; grey ones in three equal channels."""
    n, _, height, width = x.shape
    box = torch.tensor([[0, 0, height, width]], device=x.device).expand(n, 4)
    return (x / 255 if size == height == width else cropped(x, box, size)).expand(-1, 3, -1, -1)


def _resampling(
    start: Tensor, length: Tensor, whole: int, size: int, flipped: Tensor | None = None
) -> Float[Tensor, "n size whole"]:
    """Weights of every input pixel in every output pixel: triangles as wide as an output pixel, or an input one."""
    scale = (length / size).unsqueeze(1)
    pixel = torch.arange(size, device=start.device)
    pixel = pixel if flipped is None else torch.where(flipped.unsqueeze(1), size - 1 - pixel, pixel)
    place = torch.arange(whole, device=start.device) - start.unsqueeze(1)
    width = scale.clamp_min(1)
    weight = ((place + 0.5) / width).unsqueeze(1) - ((pixel + 0.5) * scale / width).unsqueeze(2)
    weight.abs_().neg_().add_(1).clamp_min_(0)
    weight.mul_(((place >= 0) & (place < length.unsqueeze(1))).to(weight.dtype).unsqueeze(1))
    return weight.div_(weight.sum(2, keepdim=True))


def brightness(x: Images) -> Float[Tensor, "n 1 h w"]:
    """The brightness of every pixel."""
    red, green, blue = x.unbind(1)
    return (GREY[0] * red).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2]).unsqueeze(1)


def jittered(x: Images, change: Float[Tensor, "n 4"]) -> Images:
    """Images with other brightness, contrast and saturation, each multiplied by 1 + change, and the hue turned.

    Brightness is a blend with black, contrast with the image's mean grey, saturation with the image in grey.
    """
    bright, contrast, saturation = (_each(1 + change[:, k]) for k in range(3))
    x = (x * bright).clamp_(0, 1)
    grey = brightness(x).mean((1, 2, 3), keepdim=True)
    x.mul_(contrast).add_((1 - contrast) * grey).clamp_(0, 1)
    return hue_turned(blended_with_grey(x, saturation).clamp_(0, 1), change[:, 3])


def blended_with_grey(x: Images, share: Float[Tensor, "n 1 1 1"]) -> Images:
    """A share of each image, and for the rest the image in grey."""
    return (x * share).add_(brightness(x).mul_(1 - share))


def hue_turned(x: Images, turns: Float[Tensor, " n"]) -> Images:
    """Images with every hue moved around the circle, in hue, saturation and value; 0 and 1 turns change nothing."""
    red, green, blue = x.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    span = high - low
    per_span = span.clamp_min(TINY).reciprocal_()
    hue = torch.where(
        red == high,
        (green - blue).mul_(per_span),
        torch.where(green == high, (blue - red).mul_(per_span).add_(2), (red - green).mul_(per_span).add_(4)),
    )
    hue.div_(6).add_(turns[:, None, None])
    hue.sub_(hue.floor()).mul_(6)
    # Red is full for two sixths about 0, where the distance to 3 is large; green about 2, blue about 4.
    share = (hue.unsqueeze(1) - hue.new_tensor((3.0, 2.0, 4.0))[:, None, None]).abs_()
    share[:, 0].sub_(1)
    share[:, 1:].neg_().add_(2)
    return share.clamp_(0, 1).mul_(span.unsqueeze(1)).add_(low.unsqueeze(1))


def blurred(x: Images, sigma: Float[Tensor, " n"]) -> Images:
    """Images blurred by a Gaussian of their own width, in pixels."""
    apart = torch.arange(x.shape[3], device=x.device)
    kernel = torch.exp(-0.5 * ((apart[:, None] - apart) / sigma[:, None, None]).square())
    kernel = (kernel / kernel.sum(2, keepdim=True)).unsqueeze(1)
    return kernel @ x @ kernel.mT


def _each(values: Tensor) -> Tensor:
    """A value per image, for every channel and pixel of it."""
    return values[:, None, None, None]
