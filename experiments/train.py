"""Train one study, evaluate it and draw its figures.

python experiments/train.py STUDY [--preset report|best|tiny] [--FIELD value …] [--storage runs] [--json]
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from cluster.mirror import Mirror, ui_command
from cluster.run import Run
from experiments.exits import exit_with_a_sentence
from genlib import STUDIES, InputError, Launch, Progress, Study


@dataclass(frozen=True)
class Options:
    """Where and how to run; nothing of it changes the result's identity."""

    preset: str = "report"
    """The named set of fields that the others override."""
    storage: Path = Path("runs")
    """Where runs are kept: the same study there is the same run, and resumes."""
    device: str = "cpu"
    """A torch device."""
    json: bool = False
    """Print one JSON object on the last line of standard output, all else to standard error."""


def parse(arguments: list[str]) -> tuple[Options, Study[Any]]:
    """Options and the study, from the command line."""
    kinds = {kind.title(): kind for kind in STUDIES}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\nstudies: {', '.join(kinds)}; `train.py STUDY --help` lists a study's fields.")
        sys.exit(0)
    title, *rest = arguments
    if title not in kinds:
        raise InputError(f"unknown study '{title}': the studies are {', '.join(kinds)}.")
    if "-h" in rest or "--help" in rest:
        with suppress(SystemExit):  # tyro ends the program after a help text; there are two to print
            tyro.cli(Options, args=["--help"], prog=f"train.py {title}")
        tyro.cli(kinds[title], args=["--help"], prog=f"train.py {title}")
    options, rest = tyro.cli(Options, args=rest, return_unknown_args=True)
    study: Study[Any] = tyro.cli(kinds[title], args=rest, default=kinds[title].preset(options.preset), prog=title)
    return options, study


def main(arguments: list[str]) -> None:
    """Train, measure, draw, mirror, and say where everything is."""
    options, study = parse(arguments)
    console = Console(stderr=options.json)

    def show(progress: Progress) -> None:
        told = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items() if name.count("/") < 2)
        sys.stderr.write(f"\r\033[K{progress.step:,}/{study.steps:,}  {told}")
        sys.stderr.flush()

    run = Run(study, options.storage)
    trained = run.train(Launch(device=options.device), show)
    sys.stderr.write("\r\033[Kmeasuring and drawing …\r")
    metrics = run.finish(trained)
    sys.stderr.write("\033[K")
    table = Table(title=f"{study.title()} {study.key()}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)
    console.print(f"figures:  {run.path}/evaluations", soft_wrap=True)
    console.print(f"compare:  {ui_command(options.storage)}", soft_wrap=True)
    try:
        Mirror(options.storage, study.title()).show(run.path)
    except InputError as error:  # the run is whole without it
        sys.stderr.write(f"not mirrored: {error}\n")
    if options.json:
        result = {"key": study.key(), "path": str(run.path.absolute()), "status": "FINISHED", "metrics": metrics}
        print(json.dumps({"runs": [result]}))


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(sys.argv[1:])
