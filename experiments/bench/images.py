"""Image diffusion against diffusers' U-Net: equal shape, batch and optimiser, one thread; training and sampling.

    pip install -e '.[bench]'
    python experiments/bench/images.py [--repeats 15]

diffusers' net has as many levels, channels and blocks, and reads as many words of as many features; `best` itself has a
leaner net, updated by Muon. diffusers' loop draws noise, takes the loss and steps; genlib's `train()` also reads and
colours digits, writes captions, encodes them, keeps a running average and reports. Sampling is Heun's method in 18
steps, by each library's own code. In turns, in CPU seconds; ratios above 1 say that genlib is faster.
"""

from __future__ import annotations

import torch
from rich.table import Table
from torch import nn
from torch.nn import functional

from experiments.bench.timing import Burst, TimingOptions, comparison_cells, is_installed, race, show
from experiments.command.arguments import read
from genlib import Draws, ImageDiffusion, train
from genlib.data.prompts import LENGTH

BURST, IMAGES = 2, 64
STUDY = ImageDiffusion.preset(
    "best",
    lean=False,
    muon_rate=0,
    guidance=1.0,  # which asks the net once a call, as diffusers' loop here does
    data_set="digits",
    samples=50,
    steps=10**9,
    learning_rate_schedule="constant",
    validate_every=10**9,
    log_every=BURST,
)


def by_genlib() -> Burst:
    """genlib's `train()`, batches and reports included."""
    progress = train(STUDY)
    return lambda: next(progress)


def net_of_diffusers() -> nn.Module:
    """diffusers' conditional U-Net in the shape of the study's, on the same patches."""
    from diffusers import UNet2DConditionModel

    levels = len(STUDY.multiples)
    return UNet2DConditionModel(
        sample_size=STUDY.size // STUDY.patch,
        in_channels=3 * STUDY.patch**2,
        out_channels=3 * STUDY.patch**2,
        down_block_types=("DownBlock2D",) * levels,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D",) * levels,
        block_out_channels=tuple(STUDY.width * multiple for multiple in STUDY.multiples),
        layers_per_block=STUDY.blocks,
        norm_num_groups=STUDY.width // 8,
        cross_attention_dim=STUDY.text_width,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
    )


def by_diffusers(net: nn.Module) -> Burst:
    """The usual loop around diffusers' net: noise, squared error, Adam."""
    draws = Draws(0, "bench")
    x = draws.normal(STUDY.batch_size, 3 * STUDY.patch**2, STUDY.size // STUDY.patch, STUDY.size // STUDY.patch)
    words = draws.normal(STUDY.batch_size, LENGTH + 1, STUDY.text_width)
    optimiser = torch.optim.Adam(net.parameters(), lr=STUDY.learning_rate, fused=True)

    def burst() -> None:
        for _ in range(BURST):
            sigma, noise = torch.randn(len(x)).exp(), torch.randn_like(x)
            scale = (1 + sigma**2).rsqrt()[:, None, None, None]
            predicted = net((x + sigma[:, None, None, None] * noise) * scale, sigma.log() / 4, words).sample
            optimiser.zero_grad()
            torch.autograd.backward(functional.mse_loss(predicted, noise))
            optimiser.step()

    return burst


def sampling_by_genlib() -> Burst:
    """64 images of prompts, by `generate`."""
    model = STUDY.model().eval()
    tokens, _ = STUDY.prompts(IMAGES, STUDY.draws("bench"))
    return lambda: STUDY.generate(model, tokens, STUDY.draws("images"))


def sampling_by_diffusers(net: nn.Module) -> Burst:
    """As many images by diffusers' net and its scheduler of Heun's method, whose calls are those of 18 steps."""
    from diffusers import HeunDiscreteScheduler

    side, words = STUDY.size // STUDY.patch, torch.randn(IMAGES, LENGTH + 1, STUDY.text_width)

    @torch.no_grad()
    def burst() -> None:
        scheduler = HeunDiscreteScheduler()
        scheduler.set_timesteps(STUDY.sampling_steps)
        x = torch.randn(IMAGES, 3 * STUDY.patch**2, side, side) * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, time)
            x = scheduler.step(net(seen, time, words).sample, time, x).prev_sample

    return burst


def main(options: TimingOptions) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    peers = is_installed("diffusers")
    table = Table(title=f"CPU time, medians of {options.repeats} interleaved measurements [95 % interval], one thread")
    for column in ("what", "library", "images per CPU-second", "its time / genlib's"):
        table.add_column(column, justify="left" if column in ("what", "library") else "right")
    net = net_of_diffusers() if peers else None
    works = {
        f"training, batch {STUDY.batch_size}": (by_genlib(), net and by_diffusers(net), BURST * STUDY.batch_size),
        f"sampling, {STUDY.sampling_steps} Heun steps": (
            sampling_by_genlib(),
            net and sampling_by_diffusers(net),
            IMAGES,
        ),
    }
    for work, (ours, theirs, amount) in works.items():
        times = race({"genlib": ours} | ({"diffusers": theirs} if theirs else {}), options.repeats)
        for name in times:
            table.add_row(work, name, *comparison_cells(times, name, amount))
    show(table, "images", record=options.record, width=120)


if __name__ == "__main__":
    main(read(TimingOptions, about=__doc__))
