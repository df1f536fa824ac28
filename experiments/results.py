"""The README's tables: every study's presets over their seeds, mean and 95 % interval.

A setting that was chosen among several is reported on seeds that no choice has seen.

python experiments/results.py [--storage runs] [--seeds 3] [--only best] [--gallery]
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from cluster.execution import execute
from cluster.run import Run
from cluster.workers import Workers
from experiments.command.arguments import read
from experiments.command.console import conclude, print_lines
from experiments.command.exits import exit_with_a_sentence
from experiments.command.options import ManyOptions, end, only_planned
from experiments.command.record import read_record, summary, write_record
from experiments.command.tables import cell, markdown, with_ratios
from experiments.command.watching import watching_many
from genlib import (
    ColourTransfer,
    ContinuousVAE,
    CouplingFlow,
    DigitJudge,
    DiscreteVAE,
    FlowMatching,
    ImageDiffusion,
    InputError,
    JointVAE,
    PointDiffusion,
    SpiralDiffusion,
    Study,
    TinyGPT,
    VICReg,
)
from tuning.many import run_many

GALLERY = Path(__file__).parent / "gallery"


UNSEEN = 10
"""The first of the seeds that no setting was chosen on."""
CHOSEN = ("best", "spline", "binarised")
"""Presets whose settings were chosen among several, on seeds below `UNSEEN`."""
SEEDS = {
    "CouplingFlow, best": range(30, 35),  # chosen on 10 to 23
    "CouplingFlow, spline": range(10, 15),
    "FlowMatching, best": range(10, 15),
    "FlowMatching by class, best": range(10, 15),
    "VICReg, best": range(1),  # chosen on training images alone; hours of one thread
    "VICReg, best, taught with labels": range(1),
}
"""The seeds of rows that need more, so that no bad one hides, and of those that take too long for several."""


class Family(NamedTuple):
    """Studies that are measured alike: one table."""

    rows: Mapping[str, Study[Any]]
    columns: dict[str, tuple[str, int]]
    """For each heading: the metric, and its decimals."""
    seeds: int
    """Number of seeds per row, unless `SEEDS` or --seeds gives another."""

    def seeds_of(self, name: str, wanted: int | None = None) -> range:
        """The seeds of a row."""
        first = UNSEEN if any(word in name for word in CHOSEN) else 0
        usual = SEEDS.get(name, range(first, first + self.seeds))
        return range(usual[0], usual[0] + (wanted or len(usual)))


POINTS = Family(
    {
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
    },
    {
        "NLL, nats": ("nll", 3),
        "above the truth": ("nll_gap", 3),
        "C2ST": ("c2st", 3),
        "SW ÷ floor": ("sliced_wasserstein_ratio", 2),
        "coverage": ("coverage", 3),
        "leakage, %": ("leakage_percent", 2),
        "CPU-seconds": ("cpu_seconds", 0),
    },
    seeds=3,
)
AUTOENCODERS = Family(
    {
        f"{kind.__name__}, {preset}": kind.preset(preset)
        for kind in (ContinuousVAE, DiscreteVAE, JointVAE)
        for preset in ("report", "best")
    }
    | {
        "ContinuousVAE, binarised": ContinuousVAE.preset("binarised"),
        "ContinuousVAE, binarised once": ContinuousVAE.preset("binarised", binarised="once"),
    },
    {
        "test loss, nats": ("test/loss", 1),
        "NLL, nats": ("nll", 1),
        "NMI": ("nmi", 2),
        "Hungarian accuracy": ("hungarian_accuracy", 2),
        "clarity": ("clarity", 2),
        "digit asked for": ("controlled_digit", 2),
        "hue asked for": ("controlled_hue", 2),
        "CPU-seconds": ("cpu_seconds", 0),
    },
    seeds=1,
)
TRANSFER = Family(
    {
        "ColourTransfer, report": ColourTransfer.preset("report"),
        "ColourTransfer, best": ColourTransfer.preset("best"),
        "ColourTransfer, best recipe, report's generator": ColourTransfer.preset(
            "best", generator="local", steps=1_500
        ),
    },
    {
        "digit kept": ("digit_kept", 4),
        "hue right": ("hue_right", 4),
        "PSNR, dB": ("psnr", 1),
        "cycle L1": ("cycle_l1", 4),
        "CPU-seconds": ("cpu_seconds", 0),
    },
    seeds=1,
)
TEXT = Family(
    {f"TinyGPT, {preset}": TinyGPT.preset(preset) for preset in ("mingpt", "report", "best")},
    {
        "nats per character": ("nats_per_char", 3),
        "nats per token": ("nats_per_token", 3),
        "CPU-seconds": ("cpu_seconds", 0),
    },
    seeds=3,
)
JUDGE = Family(
    {f"DigitJudge, {preset}": DigitJudge.preset(preset) for preset in ("report", "best")},
    {"accuracy": ("accuracy", 4), "CPU-seconds": ("cpu_seconds", 0)},
    seeds=3,
)
REPRESENTATIONS = Family(
    {
        "VICReg, small": VICReg.preset("small", floors=True),
        "VICReg, small, 5 epochs": VICReg.preset("small").lasting(5),
        "VICReg, small, no variance term": VICReg.preset("small", variance_weight=0),
        "VICReg, small, no variance term, 5 epochs": VICReg.preset("small", variance_weight=0).lasting(5),
        "VICReg, small, neighbours": VICReg.preset("small", positives="neighbours"),
        "VICReg, small, alternating": VICReg.preset("small", positives="alternating"),
        "VICReg, small, taught with labels": VICReg.preset("small", supervised=True),
        "VICReg, best": VICReg.preset("best", floors=True),
        "VICReg, best, taught with labels": VICReg.preset("best", supervised=True),
    },
    {
        "probe": ("probe_accuracy", 4),
        "wide": ("probe_accuracy/wide", 4),
        "of the encoding": ("probe_accuracy/encoding", 4),
        "of pixels": ("probe_accuracy/pixels", 4),
        "of random weights": ("probe_accuracy/random_weights", 4),
        "kNN, k = 20": ("knn_accuracy", 4),
        "k = 200": ("knn_accuracy/200", 4),
        "of the encoding, k = 20": ("knn_accuracy/encoding", 4),
        "rank": ("rank", 1),
        "std": ("embedding_std", 2),
        "anomaly AUC": ("anomaly_auc", 3),
        "hubness": ("hubness", 1),
        "CPU-seconds": ("cpu_seconds", 0),
    },
    seeds=3,
)
BEST_STEPS = ImageDiffusion.preset("best").steps
IMAGES = Family(
    {
        **{f"ImageDiffusion, {preset}": ImageDiffusion.preset(preset) for preset in ("small", "best")},
        **{
            f"ImageDiffusion, best, tuned to few steps, {steps} step{'s' * (steps > 1)}": ImageDiffusion.preset(
                "best", few_steps=True, teacher_steps=BEST_STEPS, steps=4_000, sampling_steps=steps
            )
            for steps in (1, 2, 4)
        },
    },
    {
        "digit right": ("digit_right", 4),
        "colour right": ("hue_right", 4),
        "held-out pairs": ("held_out/both_right", 4),
        "Fréchet": ("frechet", 2),
        "Fréchet of real": ("frechet_floor", 2),
        "precision": ("precision", 3),
        "precision of real": ("precision/real", 3),
        "recall": ("recall", 3),
        "recall of real": ("recall/real", 3),
        "spread of hues": ("hue_spread", 2),
        "judge": ("judge_accuracy", 4),
        "CPU-seconds": ("cpu_seconds", 0),
    },
    seeds=3,
)
FAMILIES = {
    "points": POINTS,
    "autoencoders": AUTOENCODERS,
    "transfer": TRANSFER,
    "text": TEXT,
    "images": IMAGES,
    "representations": REPRESENTATIONS,
    "judge": JUDGE,
}
ROWS = {name: study for family in FAMILIES.values() for name, study in family.rows.items()}
FIRST = {
    replace(study, seed=family.seeds_of(name)[0]) for family in FAMILIES.values() for name, study in family.rows.items()
}
PICTURES = {
    "PointDiffusion, report": ("loss", "starting_variance", "forward_and_reverse", "reverse_paths"),
    "PointDiffusion, best": ("sampling_steps", "schedules"),
    "PointDiffusion by class, best": ("class_paths", "class_likelihoods", "point_likelihoods"),
    "SpiralDiffusion, report": ("noising", "denoising", "samples"),
    "CouplingFlow, best": ("layers", "paths", "inverse_paths"),
    "CouplingFlow, spline": ("samples",),
    "FlowMatching, best": ("samples", "cloud", "paths"),
    "FlowMatching by class, best": ("class_samples", "class_paths"),
    "ContinuousVAE, report": ("plane", "traversals"),
    "DiscreteVAE, report": ("codes",),
    "JointVAE, report": ("samples", "controlled", "plane", "traversals", "scales"),
    "ContinuousVAE, binarised": ("samples", "reconstructions"),
    "TinyGPT, report": ("loss", "inversion", "attention", "scores"),
    "VICReg, small": ("planes", "laplacian", "probe", "terms"),
    "VICReg, small, neighbours": ("near_and_far", "anomalies", "hubs"),
    "VICReg, small, no variance term": ("spectrum",),
    "ColourTransfer, best": ("a_to_b", "hue_by_digit", "losses", "hues"),
    "ImageDiffusion, small": (
        "prompted",
        "film.gif",
        "sampling_steps",
        "samplers",
        "guidance",
        "starting_noise",
        "indirect",
        "empty_prompt",
        "nearest",
    ),
}


@dataclass(frozen=True)
class ResultOptions(ManyOptions):
    """Which results to produce, and where and how their runs are done."""

    seeds: int | None = None
    """Number of seeds per row: by default three or five, and one for studies of images."""
    only: str = ""
    """A row's name, or text that the names of the rows must contain; empty for all rows."""
    record: bool = False
    """Record the numbers for the pages, where `make pages` shows them."""
    gallery: bool = False
    """Copy the README's pictures, from the first seed's runs, to experiments/gallery."""


def evaluate(run: Run, *, workers: Workers, device: str, any_device: bool) -> dict[str, float]:
    """Train a run and measure it; a row's first seed has its figures drawn too."""
    return execute(run, workers, device=device, figures=run.study in FIRST, any_device=any_device)[0]


def main(options: ResultOptions) -> None:
    """Train what is missing and print the tables."""
    names = [options.only] if options.only in ROWS else [name for name in ROWS if options.only in name]
    rows = {name: ROWS[name] for name in names}
    if not rows:
        kinds = ", ".join(dict.fromkeys(type(study).__name__ for study in ROWS.values()))
        raise InputError(f"--only: got {options.only!r}, which no row has in its name; rows are of {kinds}.")
    if options.seeds is not None and options.seeds < 1:
        raise InputError(f"--seeds: got {options.seeds}; allowed is an integer of at least 1.")
    wanted = {
        (name, seed): replace(study, seed=seed)
        for family in FAMILIES.values()
        for name, study in family.rows.items()
        if name in rows
        for seed in family.seeds_of(name, options.seeds)
    }
    runs = [Run(study, options.root) for study in wanted.values()]
    if only_planned(options, runs):
        return
    how = partial(evaluate, workers=options.group, device=options.device, any_device=options.any_device)
    values: dict[Study[Any], dict[str, float]] = {}
    with watching_many(runs, "training and measuring") as one_more:
        studies = list(wanted.values())
        for done in run_many(studies, options.root, how, workers=options.group, packs=options.may_pack):
            one_more()
            values[done.study] = done.value
    measured: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (name, _), study in wanted.items():
        for metric, value in with_ratios(values[study]).items():
            measured[name][metric].append(value)
    texts = [show(family, measured, options) for family in FAMILIES.values() if family.rows.keys() & rows.keys()]
    (options.root / "results.md").write_text("\n".join(texts))
    (options.root / "results.json").write_text(json.dumps(measured, indent=2))
    print_lines(options.console, {"metrics": f"{options.root}/results.json", "markdown": f"{options.root}/results.md"})
    if options.record:
        record(measured)
    for family in FAMILIES.values() if options.gallery else ():
        fill_gallery(family.rows.keys() & rows.keys(), family, options)
    end(options)
    conclude([run.result() for run in runs], as_json=options.json)


def show(family: Family, measured: Mapping[str, Mapping[str, list[float]]], options: ResultOptions) -> str:
    """Print a family's table; returns it as Markdown."""
    columns = {
        heading: column
        for heading, column in family.columns.items()
        if any(column[0] in measured[name] for name in family.rows if name in measured)
    }
    lines = [
        [name, *(cell(measured[name].get(metric, []), digits) for metric, digits in columns.values())]
        for name in family.rows
        if name in measured
    ]
    seeds = {len(family.seeds_of(name, options.seeds)) for name in family.rows if name in measured}
    title = f"mean ± half the 95 % interval over {' or '.join(map(str, sorted(seeds)))} seeds"
    title = "one seed" if seeds == {1} else title
    table = Table("study", *columns, title=title)
    for line in lines:
        table.add_row(*line)
    Console(stderr=options.json, width=150).print(table)
    return f"{markdown(['study', *columns], lines)}\n{title}.\n"


def record(measured: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Keep the metrics that the tables show, in the place of what was recorded of these rows."""
    recorded = read_record("results")
    for family in FAMILIES.values():
        for name in family.rows.keys() & measured.keys():
            metrics = [metric for metric, _ in family.columns.values() if metric in measured[name]]
            recorded[name] = {metric: summary(measured[name][metric]) for metric in metrics}
    write_record("results", {name: recorded[name] for name in ROWS if name in recorded})


def fill_gallery(names: Iterable[str], family: Family, options: ResultOptions) -> None:
    """Copy the chosen pictures of some rows' first seeds to the gallery."""
    for name in names:
        study = replace(family.rows[name], seed=family.seeds_of(name)[0])
        figures = Run(study, options.root).evaluation_folder(study) / "figures"
        for picture in PICTURES.get(name, ()):
            file = Path(picture if "." in picture else f"{picture}.png")
            shutil.copyfile(figures / file, GALLERY / f"{study.title()}-{file}".replace("_", "-"))


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(ResultOptions, about=__doc__))
