"""The README's table: every study's presets over three seeds, mean and 95 % interval, beside the targets.

python experiments/results.py [--storage runs] [--seeds 3] [--only best]
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

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
from experiments.tables import cell, markdown, with_ratios
from genlib import CouplingFlow, FlowMatching, InputError, PointDiffusion, SpiralDiffusion, Study
from tuning.many import run_many

ROWS: dict[str, Study[Any]] = {
    "PointDiffusion, report": PointDiffusion.preset("report"),
    "PointDiffusion, best": PointDiffusion.preset("best"),
    "PointDiffusion, best under exp(5(t−1))": PointDiffusion.preset("best", schedule="exp5"),
    "PointDiffusion by class, report": PointDiffusion.preset("report", classes=5),
    "PointDiffusion by class, best": PointDiffusion.preset("best", classes=5),
    "SpiralDiffusion, report": SpiralDiffusion.preset("report"),
    "SpiralDiffusion, best": SpiralDiffusion.preset("best"),
    "CouplingFlow, report": CouplingFlow.preset("report"),
    "CouplingFlow, best": CouplingFlow.preset("best"),
    "CouplingFlow, spline": CouplingFlow.preset("spline"),
    "FlowMatching, report": FlowMatching.preset("report"),
    "FlowMatching, best": FlowMatching.preset("best"),
    "FlowMatching by class, report": FlowMatching.preset("report", classes=5),
    "FlowMatching by class, best": FlowMatching.preset("best", classes=5),
}
GALLERY = Path(__file__).parent / "gallery"
PICTURES = {
    "PointDiffusion, report": ("loss", "starting_variance", "forward_and_reverse", "reverse_paths"),
    "PointDiffusion, best": ("sampling_steps", "schedules"),
    "PointDiffusion by class, best": ("class_paths", "class_likelihoods", "point_likelihoods"),
    "SpiralDiffusion, report": ("noising", "denoising", "samples"),
    "CouplingFlow, best": ("layers", "paths", "inverse_paths"),
    "CouplingFlow, spline": ("samples",),
    "FlowMatching, best": ("samples", "cloud", "paths"),
    "FlowMatching by class, best": ("class_samples", "class_paths"),
}
COLUMNS = {
    "NLL, nats": "nll",
    "above the truth": "nll_gap",
    "C2ST": "c2st",
    "SW ÷ floor": "sliced_wasserstein_ratio",
    "coverage": "coverage",
    "leakage, %": "leakage_percent",
    "CPU-seconds": "cpu_seconds",
}
DIGITS = {"nll": 3, "nll_gap": 3, "c2st": 3, "coverage": 3, "sliced_wasserstein_ratio": 2, "leakage_percent": 2}


@dataclass(frozen=True)
class ResultOptions(Options):
    """Which results, and where their runs run."""

    seeds: int = 3
    """Seeds 0, 1, … per row."""
    only: str = ""
    """Only rows whose name contains this."""
    gallery: bool = False
    """Copy the README's pictures, from the first seed's runs, to experiments/gallery."""


def evaluate(run: Run, *, workers: Workers, device: str, any_device: bool) -> dict[str, float]:
    """Train and measure; the first seed is drawn too."""
    return execute(run, workers, device=device, figures=run.study.seed == 0, any_device=any_device)[0]


def main(options: ResultOptions) -> None:
    """Train what is missing and print the table."""
    rows = {name: study for name, study in ROWS.items() if options.only in name}
    wanted = {(name, seed): replace(study, seed=seed) for name, study in rows.items() for seed in range(options.seeds)}
    if not rows or options.seeds < 1:
        raise InputError(f"nothing to do: the rows are {', '.join(ROWS)}, and --seeds is at least 1.")
    runs = [Run(study, options.root) for study in wanted.values()]
    if launched(options, runs):
        return
    how = partial(evaluate, workers=options.group, device=options.device, any_device=options.any_device)
    found = run_many(list(wanted.values()), options.root, how, workers=options.group)
    values = {done.study: done.value for done in found}
    measured: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (name, _), study in wanted.items():
        for metric, value in with_ratios(values[study]).items():
            measured[name][metric].append(value)
    title = f"mean ± half the 95 % interval over {options.seeds} seeds"
    lines = [
        [name, *(cell(metrics.get(key, []), DIGITS.get(key, 0)) for key in COLUMNS.values())]
        for name, metrics in measured.items()
    ]
    table = Table("study", *COLUMNS, title=title)
    for line in lines:
        table.add_row(*line)
    Console(stderr=options.json, width=150).print(table)
    text = markdown(["study", *COLUMNS], lines)
    (options.root / "results.md").write_text(f"{text}\n{title}.\n")
    (options.root / "results.json").write_text(json.dumps(measured, indent=2))
    print_lines(options.console, {"metrics": f"{options.root}/results.json", "markdown": f"{options.root}/results.md"})
    if options.gallery:
        fill_gallery(rows, options.root)
    end(options)
    print_lines(options.console, {"compare": ui_command(options.root)})
    conclude([run.result() for run in runs], as_json=options.json)


def fill_gallery(rows: dict[str, Study[Any]], storage: Path) -> None:
    """Copy chosen pictures of seed 0."""
    for name, pictures in PICTURES.items():
        if name in rows:
            path = Run(rows[name], storage).path
            evaluation = json.loads((path / "result.json").read_text())["evaluation"]
            for picture in pictures:
                source = path / "evaluations" / evaluation / "figures" / f"{picture}.png"
                shutil.copyfile(source, GALLERY / f"{rows[name].title()}-{picture.replace('_', '-')}.png")


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(tyro.cli(ResultOptions, description=__doc__))
