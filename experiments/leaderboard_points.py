"""Diffusion, coupling flows and flow matching on the same densities, under one budget of CPU time.

    python experiments/leaderboard_points.py [--storage runs] [--seeds 3] [--densities rings checkerboard]

Every method trains for three budgets, the longest of which is `SECONDS` of one thread; update counts were calibrated
once (`--calibrate` measures them anew), for stopping by the clock would break exact resume. Diffusion and flow matching
are then measured with several numbers of network evaluations; a coupling flow always takes one pass.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from cluster.execution import execute
from cluster.lease import refuse_held
from cluster.run import Run
from cluster.workers import Workers
from experiments.command.arguments import read
from experiments.command.console import conclude, print_lines
from experiments.command.exits import exit_with_a_sentence
from experiments.command.options import ManyOptions, end, only_planned
from experiments.command.record import summary, write_record
from experiments.command.tables import cell, markdown, with_ratios
from experiments.command.watching import watching_many
from genlib import CouplingFlow, FlowMatching, InputError, PointDiffusion, Study, train
from genlib.data.points import DensityName, density
from genlib.figures.leaderboard import quality
from tuning.folder import gathering
from tuning.many import run_many

NAME = "leaderboard-points"
SECONDS = 60
"""CPU-seconds of the longest training, for which the update counts below were calibrated."""
METHODS: dict[str, Study[Any]] = {
    "diffusion": PointDiffusion.preset("best", batch_size=500, steps=14_500, sampler="dpm2"),
    "affine coupling flow": CouplingFlow(  # `best` of 0.5.0, for which the record was measured
        steps=4_200,
        scale_bound=1.0,
        fourier_features=4,
        fourier_scale=0.5,
        learning_rate=1.5e-3,
        learning_rate_schedule="cosine",
        warmup_steps=200,
        ema_decay=0.999,
    ),
    "spline coupling flow": CouplingFlow.preset("spline", steps=5_300),
    "flow matching": FlowMatching.preset("best", steps=12_800),
}
SHARES = (1 / 16, 1 / 4, 1.0)
"""Shares of the budget, each a training of its own: the learning rate falls to zero in every one."""
EVALUATIONS = (4, 8, 20, 40, 100)
"""Network evaluations for a sample: two in each second-order step."""
NLL = {"nll_gap": ("NLL above the truth (nats)", 0.0)}
SAMPLES = {"c2st": ("C2ST (.5 is perfect)", 0.5), "sliced_wasserstein_ratio": ("SW ÷ real against real", 1.0)}
COLUMNS = {
    "NLL above the truth": ("nll_gap", 3),
    "C2ST": ("c2st", 3),
    "SW ÷ floor": ("sliced_wasserstein_ratio", 2),
    "evaluations": ("evaluations", 0),
    "CPU-seconds": ("cpu_seconds", 0),
}
NOTE = """Diffusion, coupling flows and flow matching on the same densities under one budget of CPU time.

Diffusion's settings were chosen on the square, those of the flows on the rings, each among some twenty."""
Key = tuple[DensityName, str, float, int]
"""One training: its density, its method, its share of the budget, its seed."""
Measured = Mapping[Key, Sequence[dict[str, float]]]


@dataclass(frozen=True)
class LeaderboardOptions(ManyOptions):
    """Which densities and seeds to compare, and where and how their runs are done."""

    seeds: int = 3
    """Number of seeds of every training: 0, 1, …"""
    densities: tuple[DensityName, ...] = ("rings", "checkerboard")
    """Densities that all methods learn."""
    record: bool = False
    """Record the numbers for the pages, where `make pages` shows them."""
    share: float = 1.0
    """Share of the budget to spend; below 1 for a trial of the script."""
    calibrate: bool = False
    """Measure what each method does in a CPU-second, say how many updates the budget holds, and stop."""


def looks(study: Study[Any]) -> list[Study[Any]]:
    """The study with each number of network evaluations, the default one last; a coupling flow as it is.

    The likelihood always takes small steps: with few of them it is the likelihood of nothing, and may beat the truth.
    """
    if isinstance(study, CouplingFlow):
        return [study]
    return [study.with_fields({"sampling_steps": count // 2}) for count in EVALUATIONS]


def evaluate(
    run: Run, *, whole: frozenset[str], workers: Workers, device: str, any_device: bool
) -> list[dict[str, float]]:
    """Train a run and measure it; with every number of network evaluations where it had the whole budget."""
    views = looks(run.study) if run.key in whole else [run.study]
    return execute(run, workers, device=device, looks=views[::-1], any_device=any_device)[::-1]


def calibrate(console: Console) -> None:
    """Print how many updates each method makes in the budget, here and now, measured in turns."""
    torch.set_num_threads(1)
    loops = {name: train(study.with_fields({"density": "rings", "steps": 10**9})) for name, study in METHODS.items()}
    steps, last, spent = dict.fromkeys(loops, 0), dict.fromkeys(loops, 0), dict.fromkeys(loops, 0.0)
    for turn in range(6):
        for name, loop in loops.items():
            began, step = time.process_time(), 0
            while time.process_time() - began < 2:
                step = next(loop).step
            if turn:  # the first turn warms up
                steps[name] += step - last[name]
                spent[name] += time.process_time() - began
            last[name] = step
    for name, study in METHODS.items():
        rate = steps[name] / spent[name]
        console.print(f"{name}: {rate * SECONDS:,.0f} updates in {SECONDS} CPU-seconds ({study.steps:,} are set)")


def wanted(options: LeaderboardOptions) -> dict[Key, Study[Any]]:
    """The study of every training."""
    studies: dict[Key, Study[Any]] = {}
    for target in options.densities:
        for method, study in METHODS.items():
            for share in SHARES:
                part = share * options.share
                scaled = {name: max(1, round(getattr(study, name) * part)) for name in ("steps", "validate_every")} | {
                    "warmup_steps": round(study.warmup_steps * part)
                }
                for seed in range(options.seeds):
                    studies[target, method, share, seed] = looks(
                        study.with_fields({"density": target, "seed": seed, **scaled})
                    )[-1]
    return studies


def main(options: LeaderboardOptions) -> None:
    """Train what is missing, and compare."""
    if options.calibrate:
        calibrate(options.console)
        return
    if options.seeds < 1 or not 0 < options.share <= 1:
        raise InputError("the leaderboard needs --seeds of at least 1 and a --share above 0 and at most 1.")
    name = NAME if options.share == 1 else f"{NAME}-{options.share:g}"
    if options.fresh:
        refuse_held(options.root / name / "lease")
    studies = wanted(options)
    runs = [Run(study, options.root, sweep=name) for study in studies.values()]
    if only_planned(options, runs):
        return
    names = {f"{method}, {target}, {share:.3g} of the time, seed {seed}": study
             for (target, method, share, seed), study in studies.items()}  # fmt: skip
    full = frozenset(study.key() for (_, _, share, _), study in studies.items() if share == SHARES[-1])
    how = partial(evaluate, whole=full, workers=options.group, device=options.device, any_device=options.any_device)
    with gathering(options.root, name, names, metric="nll_gap", note=NOTE) as gathered:
        values: dict[Study[Any], Any] = {}
        with watching_many(runs, "training and measuring") as one_more:
            for done in run_many(
                list(studies.values()), options.root, how,
                gathered=gathered, workers=options.group, packs=options.may_pack,
            ):  # fmt: skip
                one_more()
                values[done.study] = done.value
        measured = {key: [with_ratios(metrics) for metrics in values[study]] for key, study in studies.items()}
        record = {", ".join(map(str, key)): rows for key, rows in measured.items()}
        (gathered.path / "leaderboard.json").write_text(json.dumps(record, indent=1))
        seconds = SECONDS * options.share
        pictures = draw(measured, gathered.path, seconds)
        table, text = tabulate(measured, options.seeds, seconds)
        (gathered.path / "leaderboard.md").write_text(text)
        gathered.write(note=f"{NOTE}\n\n{text}")
        if options.record:
            write_record("leaderboard", summaries(measured))
    options.console.print(table)
    shown = {"pictures": ", ".join(map(str, pictures)), "table": f"{gathered.path}/leaderboard.md"}
    print_lines(options.console, shown)
    end(options)
    conclude([run.result() for run in runs], as_json=options.json)


def draw(measured: Measured, folder: Path, seconds: float) -> list[Path]:
    """Draw quality against evaluations after the whole budget, and against training time with the most evaluations."""

    def empty() -> Any:
        return defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))

    by_evaluations, by_time = empty(), empty()
    for (target, method, share, _), rows in measured.items():
        title = density(target).title
        for name in NLL | SAMPLES:
            by_time[title][method][name][seconds * share].append(rows[-1][name])
            for row in rows if share == SHARES[-1] and name in SAMPLES else ():
                by_evaluations[title][method][name][row["evaluations"]].append(row[name])
    ticks = [round(seconds * share, 2) for share in SHARES]
    cost = "CPU-seconds of training"
    drawn = {
        "evaluations": quality(by_evaluations, cost="network evaluations", metrics=SAMPLES, costs=(1, *EVALUATIONS)),
        "training_time": quality(by_time, cost=cost, metrics=NLL | SAMPLES, costs=ticks),
    }
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in drawn]


def summaries(measured: Measured) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers of the table: after the whole budget, with the most evaluations."""
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (target, method, share, _), rows in measured.items():
        if share == SHARES[-1]:
            groups[f"{target}, {method}"].append(rows[-1])
    return {
        name: {metric: summary([row[metric] for row in rows]) for metric, _ in COLUMNS.values()}
        for name, rows in groups.items()
    }


def tabulate(measured: Measured, seeds: int, seconds: float) -> tuple[Table, str]:
    """The table, and its Markdown, of what the whole budget reaches with the most evaluations."""
    results: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for (target, method, share, _), metrics in measured.items():
        if share == SHARES[-1]:
            results[target, method].append(metrics[-1])
    title = f"{seconds:g} CPU-seconds each as calibrated; mean ± half the 95 % interval over {seeds} seeds"
    rows = [
        [target, method, *(cell([one[key] for one in metrics], digits) for key, digits in COLUMNS.values())]
        for (target, method), metrics in results.items()
    ]
    table = Table("density", "method", *COLUMNS, title=title)
    for row in rows:
        table.add_row(*row)
    return table, markdown(["density", "method", *COLUMNS], rows) + f"\n{title}.\n"


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(LeaderboardOptions, about=__doc__))
