"""Diffusion, coupling flows and flow matching on the same densities, under one budget of CPU time.

    python experiments/leaderboard_points.py [--storage runs] [--seeds 3] [--densities rings checkerboard]

Every method trains for three budgets, the longest of which is `SECONDS` of one thread; update counts were calibrated
once (`--calibrate` measures them anew), for stopping by the clock would break exact resume. Diffusion and flow matching
are then looked at with several numbers of network evaluations; a coupling flow is one pass, whatever it is asked.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from cluster.execution import execute
from cluster.mirror import ui_command
from cluster.run import Run
from cluster.workers import Workers
from experiments.console import conclude, print_lines
from experiments.exits import exit_with_a_sentence
from experiments.launching import Options, end, launched
from genlib import CouplingFlow, FlowMatching, InputError, PointDiffusion, Study, train
from genlib.claims import interval
from genlib.data.points import DensityName, density
from genlib.figures.leaderboard import quality
from tuning.gathering import gathering
from tuning.many import run_many

NAME = "leaderboard-points"
SECONDS = 60
"""CPU-seconds of the longest training, for which the update counts below were calibrated."""
METHODS: dict[str, Study[Any]] = {
    "diffusion": PointDiffusion.preset("best", batch_size=500, steps=16_000, sampler="dpm2"),
    "affine coupling flow": CouplingFlow.preset("best", steps=4_500),
    "spline coupling flow": CouplingFlow.preset("spline", steps=5_200),
    "flow matching": FlowMatching.preset("best", steps=14_000),
}
SHARES = (1 / 16, 1 / 4, 1.0)
"""Of the budget, each a training of its own: the learning rate falls to zero in every one."""
EVALUATIONS = (4, 8, 20, 40, 100)
"""Of the network, for a sample (second-order steps) and for a likelihood (Runge–Kutta steps)."""
METRICS = {
    "nll_gap": ("NLL above the truth (nats)", 0.0),
    "c2st": ("C2ST (.5 is perfect)", 0.5),
    "sliced_wasserstein_ratio": ("SW ÷ real against real", 1.0),
}
Lines = dict[str, dict[str, dict[str, dict[float, list[float]]]]]


@dataclass(frozen=True)
class LeaderboardOptions(Options):
    """Which densities and seeds."""

    seeds: int = 3
    """Seeds 0, 1, … of every training."""
    densities: tuple[DensityName, ...] = ("rings", "checkerboard")
    """The densities that all methods learn."""
    share: float = 1.0
    """Part of the budget; less for a trial of the script."""
    calibrate: bool = False
    """Measure what each method does in a CPU-second, say how many updates the budget holds, and stop."""


def looks(study: Study[Any]) -> list[Study[Any]]:
    """The study with its numbers of evaluations, the default one last; a coupling flow as it is."""
    if isinstance(study, CouplingFlow):
        return [study]
    return [replace(study, sampling_steps=count // 2, likelihood_steps=count // 4) for count in EVALUATIONS]


def evaluate(
    run: Run, *, whole: frozenset[str], workers: Workers, device: str, any_device: bool
) -> list[dict[str, float]]:
    """Train, and measure; with every number of evaluations those that had the whole budget."""
    every = looks(run.study) if run.key in whole else [run.study]
    return execute(run, workers, device=device, looks=every[::-1], any_device=any_device)


def calibrate(console: Console) -> None:
    """How many updates each method makes in the budget, here and now."""
    torch.set_num_threads(1)
    for name, study in METHODS.items():
        progress = train(replace(study, density="rings", steps=10**9, validate_every=10**9))
        next(progress)
        began, first, step = time.process_time(), study.log_every, study.log_every
        while time.process_time() - began < 10:
            step = next(progress).step
        rate = (step - first) / (time.process_time() - began)
        console.print(f"{name}: {rate:,.0f} updates per CPU-second, {rate * SECONDS:,.0f} in {SECONDS} s", style="")


def main(options: LeaderboardOptions) -> None:
    """Train what is missing, and compare."""
    if options.calibrate:
        calibrate(options.console)
        return
    if options.seeds < 1 or not 0 < options.share <= 1:
        raise InputError("the leaderboard needs --seeds of at least 1 and a --share above 0 and at most 1.")
    wanted: dict[tuple[str, str, float, int], Study[Any]] = {}
    for on in options.densities:
        for method, study in METHODS.items():
            for share in SHARES:
                steps = max(1, round(study.steps * share * options.share))
                cadence = max(1, round(study.validate_every * share * options.share))
                for seed in range(options.seeds):
                    fields = {"density": on, "steps": steps, "validate_every": cadence, "seed": seed}
                    wanted[on, method, share, seed] = looks(replace(study, **fields))[-1]
    runs = [Run(study, options.root, sweep=NAME) for study in wanted.values()]
    if launched(options, runs):
        return
    names = {
        f"{method}, {on}, {share:.3g} of the time, seed {seed}": s for (on, method, share, seed), s in wanted.items()
    }
    note = "Diffusion, coupling flows and flow matching on the same densities under one budget of CPU time."
    whole = frozenset(study.key() for (_, _, share, _), study in wanted.items() if share == SHARES[-1])
    how = partial(evaluate, whole=whole, workers=options.group, device=options.device, any_device=options.any_device)
    with gathering(options.root, NAME, names, note=note) as gathered:
        done = run_many(list(wanted.values()), options.root, how, group=NAME, workers=options.group)
        values = {found.study: found.value[::-1] for found in done}
        measured = {key: [with_ratio(found) for found in values[study]] for key, study in wanted.items()}
        seen = {
            f"{on}, {method}, {share:.3g}, seed {seed}": found for (on, method, share, seed), found in measured.items()
        }
        (gathered.folder / "leaderboard.json").write_text(json.dumps(seen, indent=1))
        pictures = draw(measured, gathered.folder)
        table, markdown = tabulate(measured, options.seeds)
        (gathered.folder / "leaderboard.md").write_text(markdown)
        best = min(measured, key=lambda key: measured[key][-1]["nll_gap"])
        gathered.write(
            note=f"{note}\n\n{markdown}",
            best={"value": measured[best][-1]["nll_gap"], "command": ", ".join(map(str, best))},
        )
    options.console.print(table)
    end(options)
    shown = {
        **{f"picture {k + 1}": str(path) for k, path in enumerate(pictures)},
        "table": f"{gathered.folder}/leaderboard.md",
    }
    print_lines(options.console, shown | {"compare": ui_command(options.root)})
    conclude([run.result() for run in runs], as_json=options.json)


def with_ratio(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics, and the distance over that of real points among themselves."""
    return metrics | {"sliced_wasserstein_ratio": metrics["sliced_wasserstein"] / metrics["sliced_wasserstein_floor"]}


def draw(measured: Mapping[tuple[str, str, float, int], list[dict[str, float]]], folder: Path) -> list[Path]:
    """Quality against evaluations after the whole budget, and against training time with the most evaluations."""

    def empty() -> Any:
        return defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))

    by_evaluations, by_time = empty(), empty()
    for (on, method, share, _), every in measured.items():
        title = density(on).title  # type: ignore[arg-type]
        for name in METRICS:
            by_time[title][method][name][SECONDS * share].append(every[-1][name])
            if share == 1:
                for found in every:
                    by_evaluations[title][method][name][found["evaluations"]].append(found[name])
    ticks = [SECONDS * share for share in SHARES]
    drawn = {
        "evaluations": quality(by_evaluations, cost="network evaluations", metrics=METRICS, costs=(1, *EVALUATIONS)),
        "training_time": quality(by_time, cost="CPU-seconds of training (as calibrated)", metrics=METRICS, costs=ticks),
    }
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in drawn]


def tabulate(measured: Mapping[tuple[str, str, float, int], list[dict[str, float]]], seeds: int) -> tuple[Table, str]:
    """After the whole budget, with the most evaluations: mean and half the 95 % interval."""
    columns = {
        "NLL above the truth": ("nll_gap", 3),
        "C2ST": ("c2st", 3),
        "SW ÷ floor": ("sliced_wasserstein_ratio", 2),
    }
    columns |= {"evaluations": ("evaluations", 0), "CPU-seconds": ("cpu_seconds", 0)}
    rows: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for (on, method, share, _), every in measured.items():
        if share == 1:
            rows[on, method].append(every[-1])
    title = f"{SECONDS} CPU-seconds each as calibrated, mean ± half the 95 % interval over {seeds} seeds"
    table = Table("density", "method", *columns, title=title)
    lines = [["density", "method", *columns], ["---"] * (len(columns) + 2)]
    for (on, method), found in rows.items():
        cells = [on, method, *(_cell([one[key] for one in found], digits) for key, digits in columns.values())]
        table.add_row(*cells)
        lines.append(cells)
    return table, "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{title}.\n"


def _cell(values: list[float], digits: int) -> str:
    mean, low, high = interval(values)
    return (
        f"{mean:.{digits}f}"
        if high - low in (0, float("inf"))
        else f"{mean:.{digits}f} ± {(high - low) / 2:.{digits}f}"
    )


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(tyro.cli(LeaderboardOptions, description=__doc__))
