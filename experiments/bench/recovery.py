"""How long it takes until work goes on after a host is lost, from what the tests on several hosts have written.

GENLIB_RECOVERY=recovery.jsonl python -m pytest -m slow tests/hosts
python experiments/bench/recovery.py --file recovery.jsonl [--record]
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from experiments.bench.timing import show
from experiments.command.arguments import read
from experiments.command.exits import exit_with_a_sentence
from genlib import InputError


@dataclass(frozen=True)
class Options:
    """What to read."""

    file: Path = Path("recovery.jsonl")
    """The file that GENLIB_RECOVERY named."""
    record: bool = False
    """Record it for the page of speeds, where `make pages` shows it."""


def main(options: Options) -> None:
    """Print the table."""
    if not options.file.exists():
        raise InputError(f"--file: there is no {options.file}: let the tests on several hosts write it.")
    times: dict[str, list[float]] = defaultdict(list)
    for line in options.file.read_text().splitlines():
        times[json.loads(line)["what"]].append(json.loads(line)["seconds"])
    table = Table(title="Seconds from the fault to the next new row")
    table.add_column("fault")
    for column in ("median", "95th percentile", "times"):
        table.add_column(column, justify="right")
    for what, seconds in times.items():
        middle, high = np.percentile(seconds, [50, 95])
        table.add_row(what, f"{middle:.0f}", f"{high:.0f}", str(len(seconds)))
    show(table, "recovery", record=options.record)


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(Options, about=__doc__))
