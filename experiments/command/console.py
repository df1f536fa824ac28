"""What a person sees at a script's end: a table, the commands to go on with, the JSON line."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.directory import Result
from genlib import Study
from genlib.own import provenance


def metrics_table(title: str, metrics: dict[str, float]) -> Table:
    """A table of a run's metrics."""
    table = Table("metric", title=title)
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}")
    return table


def nearest_preset(study: Study[Any]) -> tuple[str, dict[str, Any]]:
    """The preset that a study differs from in the fewest fields, and these fields."""

    def differing(preset: str) -> dict[str, Any]:
        base = type(study).preset(preset).fields()
        return {name: value for name, value in study.fields().items() if value != base[name]}

    nearest = min(type(study).presets, key=lambda preset: len(differing(preset)))
    return nearest, differing(nearest)


def as_command(study: Study[Any], script: str = "experiments/train.py") -> str:
    """The command that trains a study: its nearest preset, and the fields that differ from it."""
    nearest, differing = nearest_preset(study)
    fields = " ".join(f"--{name.replace('_', '-')}{_as_words(value)}" for name, value in differing.items())
    own = provenance(type(study))
    return f"python {script} {own.place if own and own.place else study.title()} --preset {nearest} {fields}".rstrip()


def _as_words(value: Any) -> str:
    """A field's value as the command line takes it, after the field's name."""
    if isinstance(value, tuple):
        return f" {shlex.join(map(str, value))}" if value else "="
    return f"={shlex.quote(str(value))}" if str(value).startswith("--") else f" {shlex.quote(str(value))}"


def print_lines(console: Console, lines: dict[str, str]) -> None:
    """Print what to look at next, each on one line that can be copied whole."""
    for name, text in lines.items():
        console.print(f"{name + ':':10}{text}", soft_wrap=True, highlight=False, markup=False)


def conclude(results: Sequence[Result], *, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """Name the runs that have not finished, print the JSON line where wanted, and exit with 1 if there are any.

    Arguments:
        more: what the JSON line has besides the runs.
    """
    for result in results:
        if result.status != "FINISHED":
            sys.stderr.write(f"{result.status}: {result.message or 'it ended without a word'} ({result.path})\n")
    if as_json:
        print(json.dumps({"runs": [result.as_json() for result in results], **(more or {})}), flush=True)
    if any(result.status != "FINISHED" for result in results):
        sys.exit(1)
