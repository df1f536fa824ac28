"""What VICReg's views and updates cost: batched views against image by image, and whole updates against lightly's.

    python experiments/bench/views.py [--repeats 15]

The reference makes a view as torchvision does, image by image and change by change: the formulas are the same ones (the
tests compare them), and each is written with torch as plainly as it can be. lightly's updates are its VICReg as its
examples have it, on the same net, batch, optimiser and changes, in the process that trains. Timed in turns, in CPU
seconds, on one thread.

lightly needs torchvision, which must fit torch to the version. Where none fits, make an environment of its own:
`pip install lightly && pip install -e .`, without constraints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from itertools import count

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from experiments.bench.timing import TimingOptions, is_installed, race, ratio, show
from experiments.command.arguments import read
from genlib import Draws, VICReg, train
from genlib.data.images.views import views

IMAGES = 256
"""Images in a burst."""
UPDATES = 2
"""Updates in a burst."""
WEIGHTS = torch.tensor([0.2989, 0.587, 0.114])[:, None, None]


def one_view(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A view of one image of bytes: crop, resize, flip, jitter, grey."""

    def uniform(low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    _, height, width = x.shape
    top, left, high, wide = 0, 0, height, width
    for _ in range(10):
        area, aspect = uniform(0.2, 1.0) * height * width, math.exp(uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w <= width and h <= height:
            top, left, high, wide = int(uniform(0, height - h + 1)), int(uniform(0, width - w + 1)), h, w
            break
    y = x[None, :, top : top + high, left : left + wide].float() / 255
    y = functional.interpolate(y, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    if uniform() < 0.5:
        y = y.flip(2)
    if uniform() < 0.8:
        y = (y * uniform(0.6, 1.4)).clamp(0, 1)
        factor = uniform(0.6, 1.4)
        y = (factor * y + (1 - factor) * (WEIGHTS * y).sum(0).mean()).clamp(0, 1)
        factor = uniform(0.8, 1.2)
        y = (factor * y + (1 - factor) * (WEIGHTS * y).sum(0)).clamp(0, 1)
        y = hue_turned(y, uniform(-0.1, 0.1))
    if uniform() < 0.2:
        y = (WEIGHTS * y).sum(0, keepdim=True).expand(3, -1, -1)
    return y


def hue_turned(x: Tensor, turns: float) -> Tensor:
    """An image whose hue is turned: to hue, saturation and value, and back."""
    red, green, blue = x
    value, low = x.max(0).values, x.min(0).values
    span = value - low
    safe = torch.where(span > 0, span, torch.ones_like(span))
    hue = torch.where(
        value == red,
        (green - blue) / safe % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (hue / 6 + turns) % 1
    saturation = span / torch.where(value > 0, value, torch.ones_like(value))
    sector = (6 * hue).floor()
    rest = 6 * hue - sector
    p, q = value * (1 - saturation), value * (1 - saturation * rest)
    t = value * (1 - saturation * (1 - rest))
    choice = sector.long() % 6
    reds, greens, blues = (value, q, p, p, t, value), (t, value, value, q, p, p), (p, p, t, value, value, q)
    return torch.stack([torch.stack(parts).gather(0, choice[None])[0] for parts in (reds, greens, blues)])


def updates_by_lightly(study: VICReg) -> Callable[[], None]:
    """Whole updates of a study by lightly: its transform of every image, its projector, its loss."""
    from lightly.loss import VICRegLoss
    from lightly.models.modules.heads import VICRegProjectionHead
    from lightly.transforms import VICRegTransform

    bright, contrast, saturation, hue = study.strengths
    transform = VICRegTransform(
        input_size=study.view_size,
        cj_prob=study.jitter,
        cj_strength=1.0,
        cj_bright=bright,
        cj_contrast=contrast,
        cj_sat=saturation,
        cj_hue=hue,
        min_scale=study.least_area,
        random_gray_scale=study.grey,
        solarize_prob=0.0,
        gaussian_blur=0.0,
        hf_prob=study.flip,
        normalize=None,
    )
    embedder = study.model()
    embedder.head = VICRegProjectionHead(study.encoding, study.projector, study.projector, study.projector_layers)
    loss = VICRegLoss(study.invariance_weight, study.variance_weight, study.covariance_weight)
    optimiser = torch.optim.Adam(embedder.parameters(), lr=study.learning_rate, weight_decay=study.weight_decay)
    pictures = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in study.images.train.x[:2_000]]
    steps = count()

    def burst() -> None:
        for _ in range(UPDATES):
            rows = Draws(0, "lightly", next(steps)).batch(len(pictures), study.batch_size).tolist()
            seen = [torch.stack(view) for view in zip(*(transform(pictures[row]) for row in rows), strict=True)]
            optimiser.zero_grad()
            torch.autograd.backward(loss(*(embedder(x.contiguous(memory_format=torch.channels_last)) for x in seen)))
            optimiser.step()

    return burst


def updates(study: VICReg) -> Callable[[], None]:
    """Whole updates of a study, its views included."""
    progress = train(study)

    def burst() -> None:
        next(progress)

    return burst


def main(options: TimingOptions) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    table = Table(title=f"CPU time, medians of {options.repeats} interleaved measurements [95 % interval], one thread")
    for column in ("what", "per CPU-second", "the others' time / genlib's"):
        table.add_column(column, justify="left" if column == "what" else "right")
    x = (255 * Draws(0, "bench").uniform(IMAGES, 3, 32, 32)).to(torch.uint8)
    generator = torch.Generator().manual_seed(0)
    for size in (16, 24, 32):
        times = race(
            {
                "batched": lambda size=size: views(x, Draws(0, "views"), size=size),  # type: ignore[misc]
                "one": lambda size=size: torch.stack([one_view(image, size, generator) for image in x]),  # type: ignore[misc]
            },
            options.repeats,
        )
        rate = f"{IMAGES / np.median(times['batched']):,.0f} views"
        table.add_row(f"views of 32 × 32, at {size} × {size}", rate, ratio(times["one"], times["batched"], digits=0))
    peers = is_installed("lightly")
    for preset in ("small", "best"):
        study = VICReg.preset(preset, steps=10**9, validate_every=10**9, log_every=UPDATES, data_set="cifar10")
        bursts = {"genlib": updates(study)}
        if peers and study.views == 2:
            bursts["lightly"] = updates_by_lightly(study)
        times = race(bursts, options.repeats)
        shape = f"{study.backbone} {'-'.join(map(str, study.widths))}, {study.views} views of {study.view_size} pixels"
        for name, taken in times.items():
            images = UPDATES * study.batch_size / np.median(taken)
            others = ratio(taken, times["genlib"], digits=1) if name != "genlib" else ""
            by = f", by {name} {version(name)}" if others else ""
            table.add_row(f"updates of {preset}{by}: {shape}", f"{images:,.0f} images", others)
    show(table, "views", record=options.record, width=150)


if __name__ == "__main__":
    main(read(TimingOptions, about=__doc__))
