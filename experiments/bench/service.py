"""What the run service costs, and how fast its sweeps are: against the bare loop, and stock Ray Tune with MLflow.

    python experiments/bench/service.py [--repeats 5] [--sweeps 3]

First: the same training as a bare `train()` and as a run with lease, journal, checkpoints and system metrics, in turns
in one process; ratio of CPU seconds. Second: sweeps of ours, with journals, checkpoints and
mirror, as packs and without, and by a stock script, Ray Tune with `MLflowLoggerCallback` reporting every 50 updates;
whole commands in turns, wall clock. One is of sixteen runs of a net for which arithmetic counts, the other of
64 runs of a small one.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table

from cluster.journal import read_segments
from cluster.run import Run
from experiments.bench.timing import TimingOptions, median_interval, scratch, show
from experiments.command.arguments import read
from genlib import PointDiffusion, start, train


class Case(NamedTuple):
    """A sweep that is timed. Its runs are validated, which the stock script does not do, and not evaluated."""

    study: PointDiffusion
    space: dict[str, list[float]]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> int:
        """Number of its runs."""
        return math.prod(map(len, self.space.values())) * len(self.seeds)


CASES = {
    "large": Case(
        PointDiffusion(width=256, steps=200, log_every=50, validate_every=100),
        {"learning_rate": [float(rate) for rate in np.geomspace(1e-4, 1e-2, 16)]},
        (0,),
    ),
    "small": Case(
        PointDiffusion(width=64, batch_size=256, steps=400, log_every=50, validate_every=200),
        {"learning_rate": [3e-4, 1e-3, 3e-3, 1e-2], "weight_decay": [0.0, 1e-5, 1e-4, 1e-3]},
        (0, 1, 2, 3),
    ),
}
REST = 15.0
"""Seconds between commands, for the mirror of the last one to end."""
WAYS = {"packed": "genlib", "alone": "genlib --no-packs", "stock": "Ray Tune, MLflowLoggerCallback"}


@dataclass(frozen=True)
class Options(TimingOptions):
    """How long to measure."""

    repeats: int = 7
    """Number of pairs of trainings that measure the service's cost; 0 skips them."""
    sweeps: int = 3
    """How often sweeps are timed; 0 skips them."""
    only: str = ""
    """For use by the script itself: run one sweep, such as `small packed`, in --folder."""
    folder: Path = Path()
    """For use by the script itself: the folder in which --only works."""


def ours(case: Case, folder: Path, *, packs: bool) -> None:
    """The sweep as our scripts run it."""
    from experiments.command.options import Options as LaunchOptions
    from experiments.command.options import begin, end
    from tuning.engine import run_sweep
    from tuning.sweep import Placement, Sweep

    options = LaunchOptions(storage=folder / "runs")
    begin(options)
    sweep = Sweep(name="bench", study=case.study, space=case.space, metric="validation/loss", seeds=case.seeds)
    run_sweep(sweep, Placement(options.root, packs=packs))
    end(options)


def stock(case: Case, folder: Path) -> None:
    """A sweep of the same arithmetic by Ray Tune and its MLflow callback, as their documentation shows."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    width, rows, steps = case.study.width, case.study.batch_size, case.study.steps

    def trial(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(config.pop("seed"))
        net = torch.nn.Sequential(
            torch.nn.Linear(3, width), torch.nn.LeakyReLU(), torch.nn.Linear(width, width), torch.nn.LeakyReLU(),
            torch.nn.Linear(width, 2),
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr=config.pop("learning_rate"), **config)
        for step in range(1, steps + 1):
            x = torch.randn(rows, 2, generator=generator)
            t = torch.rand(rows, generator=generator)
            noise = torch.randn(rows, 2, generator=generator)
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
        param_space={name: tune.grid_search(values) for name, values in {**case.space, "seed": case.seeds}.items()},
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
        with scratch() as folder:
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


class Timed(NamedTuple):
    """Wall seconds of a command."""

    whole: float
    start: float
    """Seconds until its first run began to compute."""


def started(folder: Path) -> float:
    """When the first run began to compute, as the journals say, or the results of the stock script."""
    heads = [read_segments(path)[0].head["time"] for path in folder.glob("runs/bench/*/journal")]
    first = [json.loads(path.read_text().splitlines()[0]) for path in folder.glob("results/*/*/result.json")]
    return min([*heads, *(row["timestamp"] - row["time_total_s"] for row in first)])


def sweep_seconds(case: str, repeats: int) -> dict[str, list[Timed]]:
    """Whole commands, ours and the stock script in turns."""
    seconds: dict[str, list[Timed]] = {way: [] for way in WAYS}
    for turn in range(repeats):
        ways = list(WAYS)
        for way in ways[turn % 3 :] + ways[: turn % 3]:
            with scratch() as folder:
                began = time.time()
                command = [sys.executable, __file__, "--only", f"{case} {way}", "--folder", folder]
                subprocess.run(command, check=True, capture_output=True)
                timed = Timed(time.time() - began, started(Path(folder)) - began)
                seconds[way].append(timed)
                sys.stderr.write(f"{case}, {way}: {timed.whole:.1f} s, a run computes after {timed.start:.1f} s\n")
                time.sleep(REST)
    return seconds


def main(options: Options) -> None:
    """Measure and print."""
    if options.only:
        case, way = options.only.split()
        if way == "stock":
            stock(CASES[case], options.folder)
        else:
            ours(CASES[case], options.folder, packs=way == "packed")
        return
    if options.repeats:
        table = Table(title="A run against the bare loop: medians [95 % interval]")
        for column in ("setting", "CPU time", "wall clock"):
            table.add_column(column)
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*median_interval(ratios)) for ratios in service_cost(options.repeats)]
        table.add_row("3-1024-1024-2, batch 1,000, a checkpoint every 50 updates", *cells)
        show(table, "service", record=options.record)
    if options.sweeps:
        table = Table(title=f"Sweeps, whole commands, {options.sweeps} times in turns")
        for column in (
            "sweep",
            "by",
            "seconds, median",
            "until one computes",
            "runs per minute",
            "stock's time / this",
        ):
            table.add_column(column)
        for name, timed in CASES.items():
            seconds = sweep_seconds(name, options.sweeps)
            what = f"{timed.runs} runs of {timed.study.steps} updates, width {timed.study.width}"
            for way, times in seconds.items():
                values, starts = zip(*times, strict=True)
                middle = float(np.median(values))
                factor = np.median([b.whole / a for a, b in zip(values, seconds["stock"], strict=True)])
                spread = f"{middle:.1f} ({min(values):.1f} to {max(values):.1f})"
                start = f"{np.median(starts):.1f} ({min(starts):.1f} to {max(starts):.1f})"
                table.add_row(what, WAYS[way], spread, start, f"{timed.runs * 60 / middle:.0f}", f"{factor:.2f}")
        show(table, "sweeps", record=options.record)


if __name__ == "__main__":
    main(read(Options, about=__doc__))
