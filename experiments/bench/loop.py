"""What the loop costs: `train()` against a loop written by hand that does the same arithmetic.

    python experiments/bench/loop.py [--repeats 15]

Both run in turns in one process, on one thread, timed in CPU seconds; the ratio's median and its 95 % interval (from
the order statistics of the paired ratios) are what to judge by: two identical loops differ by several per cent here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.table import Table

from experiments.bench.timing import TimingOptions, race, ratio, show
from experiments.command.arguments import read
from genlib import PointDiffusion, train

ENDLESS: dict[str, Any] = {"steps": 10**9, "validate_every": 10**9}
SETTINGS = {
    "3-1024-1024-2, batch 1,000": (PointDiffusion(**ENDLESS), 10),
    "width 64, batch 1,000": (PointDiffusion(width=64, **ENDLESS), 300),
    "width 64, batch 100": (PointDiffusion(width=64, batch_size=100, **ENDLESS), 800),
}
"""For each setting: the study, with the reports' network or a narrower one, and the number of updates in a burst."""


def by_genlib(study: PointDiffusion, updates: int) -> Callable[[], None]:
    """genlib's `train()`, with its reports every `log_every` updates, a burst of updates at a time."""
    progress = train(study)

    def burst() -> None:
        for _ in range(updates // study.log_every):
            next(progress)

    return burst


def by_hand(study: PointDiffusion, updates: int, *, fused: bool = True) -> Callable[[], None]:
    """The arithmetic of `train()` as one would write it in a notebook: same network, batches, loss and optimiser."""
    with study.draws("model").default_generator():
        net = torch.nn.Sequential(
            torch.nn.Linear(3, study.width),
            torch.nn.LeakyReLU(),
            torch.nn.Linear(study.width, study.width),
            torch.nn.LeakyReLU(),
            torch.nn.Linear(study.width, 2),
        )
    optimizer = torch.optim.Adam(net.parameters(), lr=study.learning_rate, fused=fused)
    points = study.data().train["x"]
    generator = torch.Generator().manual_seed(study.seed)

    def burst() -> None:
        losses = []
        for _ in range(updates):
            x = points[torch.randperm(len(points), generator=generator)[: study.batch_size]]
            t = torch.rand(len(x), generator=generator)
            sigma = torch.exp(5 * (t - 1))
            noise = torch.randn(len(x), 2, generator=generator)
            noised = x + sigma.unsqueeze(1) * noise
            loss = torch.nn.functional.mse_loss(net(torch.cat((noised, t.unsqueeze(1)), 1)), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        float(torch.stack(losses).mean())

    return burst


def main(options: TimingOptions) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    table = Table(title=f"CPU time, medians of {options.repeats} interleaved pairs [95 % interval]")
    for column in ("setting", "updates per CPU-second", "train() / by hand", "by hand / by hand", "plain Adam / fused"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for name, (study, updates) in SETTINGS.items():
        compared = (by_genlib(study, updates), by_hand(study, updates), by_hand(study, updates, fused=False))
        times = [race({"it": one, "by hand": by_hand(study, updates)}, options.repeats) for one in compared]
        cells = [ratio(pair["it"], pair["by hand"], digits=3) for pair in times]
        table.add_row(name, f"{updates / np.median(times[0]['it']):,.0f}", *cells)
    show(table, "loop", record=options.record, width=140)


if __name__ == "__main__":
    main(read(TimingOptions, about=__doc__))
