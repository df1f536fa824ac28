"""What every sweep script does: plan, run in parallel, mirror to MLflow, end in a table, a picture and two commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from cluster.mirror import Mirror, ui_command
from cluster.run import Run
from experiments.exits import exit_with_a_sentence
from genlib import Study
from genlib.figures.comparison import comparison
from tuning.grid import evaluation_fields, grid
from tuning.many import run_many


@dataclass(frozen=True)
class Options:
    """Where the sweep goes."""

    storage: Path = Path("runs")
    """Where the runs are kept; finished ones are not trained again."""
    plan: bool = False
    """Say what would run, and stop."""


def look(run: Run, *, looks: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Train a run and evaluate it under each setting of its evaluation fields."""
    trained = run.train()
    return [
        Run(study, run.storage).finish(replace(trained, study=study), figures=False)
        for study in (replace(run.study, **fields) for fields in looks)
    ]


def sweep_script(
    name: str, study: Study[Any], space: Mapping[str, Sequence[Any]], *, metric: str, across: str, by: str
) -> None:
    """Run a sweep from the command line.

    Arguments:
        metric: the evaluation metric that is compared; lower is better.
        across, by: the fields on the comparison's horizontal axis and in its colours.
    """
    options = tyro.cli(Options, description=sys.modules["__main__"].__doc__)
    with exit_with_a_sentence():
        _sweep(name, study, space, options, metric, across, by)


def as_command(study: Study[Any]) -> str:
    """The command that trains a study: its nearest preset, and the fields that differ from it."""

    def differing(preset: str) -> dict[str, Any]:
        base = type(study).preset(preset).fields()
        return {name: value for name, value in study.fields().items() if value != base[name]}

    nearest = min(type(study).presets, key=lambda preset: len(differing(preset)))
    fields = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in differing(nearest).items())
    return f"python experiments/train.py {study.title()} --preset {nearest} {fields}".rstrip()


def _sweep(
    name: str,
    study: Study[Any],
    space: Mapping[str, Sequence[Any]],
    options: Options,
    metric: str,
    across: str,
    by: str,
) -> None:
    settings = grid(study, space)
    looking = evaluation_fields(study, space)
    trainings = list({setting.key(): setting for setting in settings}.values())
    looks = [{field: getattr(s, field) for field in looking} for s in settings if s.key() == trainings[0].key()]
    print(f"{len(trainings)} runs, each evaluated {len(looks)} times: {', '.join(space)}", file=sys.stderr)
    if options.plan:
        return
    mirror = Mirror(options.storage, study.title())
    parent = mirror.parent(name, f"A sweep of `{study.title()}` over {', '.join(space)}; compared by `{metric}`.")
    measured: dict[Study[Any], dict[str, float]] = {}
    varied = [field for field in space if field not in looking]
    for done in run_many(trainings, options.storage, partial(look, looks=looks)):
        for fields, metrics in zip(looks, done.value, strict=True):
            measured[replace(done.study, **fields)] = metrics
        mirror.show(done.path, parent=parent, name=", ".join(f"{f} {getattr(done.study, f)}" for f in varied))
    rows = sorted(settings, key=lambda setting: measured[setting][metric])
    table = Table(title=f"{name}: best first")
    for column in (*space, metric, "c2st", "nll", "cpu_seconds"):
        table.add_column(column.replace("_", " "), justify="right")
    for setting in rows:
        numbers = (f"{measured[setting].get(key, float('nan')):.4g}" for key in (metric, "c2st", "nll", "cpu_seconds"))
        table.add_row(*(str(getattr(setting, field)) for field in space), *numbers)
    Console().print(table)
    panel = next((field for field in space if field not in (across, by)), None)
    figure = comparison(
        [
            (getattr(s, across), getattr(s, by), getattr(s, panel) if panel else None, measured[s][metric])
            for s in settings
        ],
        names=(across, by, panel),
        metric=metric,
        floor=measured[rows[0]].get(f"{metric}_floor"),
    )
    picture = options.storage / f"{name.replace(' ', '_')}.png"
    figure.savefig(picture)
    mirror.figure(parent, figure, "comparison.png")
    mirror.finish(parent)
    print(f"picture:  {picture}")
    print(f"best:     {as_command(rows[0])}")
    print(f"compare:  {ui_command(options.storage)}")
