"""What the run service costs, and how fast its sweeps are: against the bare loop, and stock Ray Tune with MLflow.

    python experiments/bench/service.py [--repeats 5] [--sweeps 3]

First: the same training as a bare `train()` and as a run with lease, journal, checkpoints and system metrics, in turns
in one process; ratio of CPU seconds. Second: sixteen runs of 200 updates as a sweep of ours — journal, checkpoints and
mirror on, until MLflow shows everything — and by a stock script, Ray Tune with `MLflowLoggerCallback` reporting every
50 updates; whole commands in turns, wall clock.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from cluster.run import Run
from experiments.bench.timing import TimingOptions, median_interval, show
from experiments.command.arguments import read
from genlib import PointDiffusion, start, train

RATES = [float(rate) for rate in np.geomspace(1e-4, 1e-2, 16)]
SMALL = PointDiffusion(width=256, steps=200, log_every=50, validate_every=100)
"""The study that the sweep trains: validated twice, which the stock script does not do, and not evaluated."""


@dataclass(frozen=True)
class Options(TimingOptions):
    """How long to measure."""

    repeats: int = 7
    """Number of pairs of trainings that measure the service's cost."""
    sweeps: int = 3
    """Number of pairs of sweeps to time; 0 skips them."""
    only: str = ""
    """For use by the script itself: run one sweep, `ours` or `stock`, in --folder."""
    folder: Path = Path()
    """For use by the script itself: the folder in which --only works."""


def ours(folder: Path) -> None:
    """The sweep as our scripts run it."""
    from experiments.command.options import Options as LaunchOptions
    from experiments.command.options import begin, end
    from tuning.engine import run_sweep
    from tuning.sweep import Placement, Sweep

    options = LaunchOptions(storage=folder / "runs")
    begin(options)
    sweep = Sweep(name="bench", study=SMALL, space={"learning_rate": RATES}, metric="validation/loss")
    run_sweep(sweep, Placement(options.root))
    end(options)


def stock(folder: Path) -> None:
    """A sweep of the same arithmetic by Ray Tune and its MLflow callback, as their documentation shows."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    def trial(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(3, 256), torch.nn.LeakyReLU(), torch.nn.Linear(256, 256), torch.nn.LeakyReLU(),
            torch.nn.Linear(256, 2),
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr=config["learning_rate"])
        for step in range(1, 201):
            x = torch.randn(1_000, 2, generator=generator)
            t = torch.rand(1_000, generator=generator)
            noise = torch.randn(1_000, 2, generator=generator)
            noised = x + torch.exp(5 * (t - 1)).unsqueeze(1) * noise
            loss = torch.nn.functional.mse_loss(net(torch.cat((noised, t.unsqueeze(1)), 1)), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 50 == 0:
                tune.report({"loss": loss.item(), "step": step})

    callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="stock")
    tune.Tuner(
        tune.with_resources(trial, {"CPU": 1}),
        param_space={"learning_rate": tune.grid_search(RATES)},
        run_config=tune.RunConfig(storage_path=str(folder / "results"), callbacks=[callback], verbose=0),
    ).fit()


def service_cost(repeats: int) -> tuple[list[float], list[float]]:
    """Ratios of CPU seconds and of wall seconds: a run against the bare loop, at width 1024 and batch 1,000."""
    torch.set_num_threads(1)
    study = PointDiffusion(steps=100, validate_every=50)
    ratios: tuple[list[float], list[float]] = ([], [])

    def bare(_: Path) -> None:
        for progress in train(study, start(study)):
            del progress

    def served(folder: Path) -> None:
        Run(study, folder).train()

    def seconds(work: Any) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time(), time.monotonic()
            work(Path(folder))
            return time.process_time() - began[0], time.monotonic() - began[1]

    seconds(served)
    for turn in range(repeats):
        order = (bare, served) if turn % 2 else (served, bare)
        times = {work: seconds(work) for work in order}
        for kind in (0, 1):
            ratios[kind].append(times[served][kind] / times[bare][kind])
    return ratios


def sweep_seconds(repeats: int) -> dict[str, list[float]]:
    """Wall seconds of whole commands, ours and the stock script in turns."""
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    for turn in range(repeats):
        for name in ("ours", "stock") if turn % 2 else ("stock", "ours"):
            with tempfile.TemporaryDirectory() as folder:
                began = time.monotonic()
                command = [sys.executable, __file__, "--only", name, "--folder", folder]
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.monotonic() - began)
            sys.stderr.write(f"{name}: 16 runs in {seconds[name][-1]:.1f} s\n")
    return seconds


def main(options: Options) -> None:
    """Measure and print."""
    if options.only:
        {"ours": ours, "stock": stock}[options.only](options.folder)
        return
    table = Table(title="A run against the bare loop: medians [95 % interval]")
    for column in ("setting", "CPU time", "wall clock"):
        table.add_column(column)
    cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*median_interval(ratios)) for ratios in service_cost(options.repeats)]
    table.add_row("3-1024-1024-2, batch 1,000, a checkpoint every 50 updates", *cells)
    show(table, "service", record=options.record)
    if options.sweeps:
        seconds = sweep_seconds(options.sweeps)
        table = Table(title=f"Sixteen runs of 200 updates, whole commands, {options.sweeps} times in turns")
        for column in ("sweep", "seconds, median", "runs per minute"):
            table.add_column(column)
        for name, values in seconds.items():
            middle = float(np.median(values))
            table.add_row(name, f"{middle:.1f} ({min(values):.1f} to {max(values):.1f})", f"{16 * 60 / middle:.1f}")
        show(table, "sweeps", record=options.record)
        factor = np.median([b / a for a, b in zip(seconds["ours"], seconds["stock"], strict=True)])
        print(f"ours are {factor:.2f} times as fast")


if __name__ == "__main__":
    main(read(Options, about=__doc__))
