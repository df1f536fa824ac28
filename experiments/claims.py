"""The reports' findings, checked: supported, refuted or undecided, from a paired 95 % interval over seeds.

python experiments/claims.py [STUDY …] [--storage runs] [--seeds 3]
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from cluster.run import Run, open_run
from experiments.exits import exit_with_a_sentence
from genlib import STUDIES, Claim, Finding, InputError, Study, judge
from tuning.many import run_many


@dataclass(frozen=True)
class Options:
    """Which claims."""

    studies: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(kind.title() for kind in STUDIES)
    """The studies whose claims are checked."""
    storage: Path = Path("runs")
    """Where the runs are kept; finished ones are not trained again."""
    seeds: int = 3
    """Seeds 0, 1, … per claim."""


def train(run: Run) -> None:
    """Train a run; claims look at the model themselves."""
    if run.result().status != "FINISHED":
        run.execute(evaluation=False)


def effects(run: Run, *, claims: list[tuple[int, Claim]], storage: str) -> dict[int, float]:
    """The effects of all claims that look at this run first, for its seed."""
    found = {}
    for number, claim in claims:
        runs = [open_run(Run(replace(study, seed=run.study.seed), storage).path) for study in claim.studies]
        found[number] = claim.effect(runs)
    return found


def check(kind: type[Study[Any]], storage: Path, seeds: int) -> list[Finding]:
    """Train what the study's claims compare, over seeds, and judge each claim."""
    claims = kind.claims()
    compared = [replace(study, seed=seed) for claim in claims for study in claim.studies for seed in range(seeds)]
    for _ in run_many(compared, storage, train):
        pass
    measured: dict[int, dict[int, float]] = {number: {} for number in range(len(claims))}
    for first in dict.fromkeys(claim.studies[0] for claim in claims):
        mine = [(number, claim) for number, claim in enumerate(claims) if claim.studies[0] == first]
        work = partial(effects, claims=mine, storage=str(storage.absolute()))
        for done in run_many([replace(first, seed=seed) for seed in range(seeds)], storage, work):
            for number, effect in done.value.items():
                measured[number][done.study.seed] = effect
    return [judge(claim, [measured[n][seed] for seed in range(seeds)]) for n, claim in enumerate(claims)]


def main(options: Options) -> None:
    """Check and print."""
    by_title = {kind.title(): kind for kind in STUDIES}
    unknown = [name for name in options.studies if name not in by_title]
    if unknown:
        raise InputError(f"unknown study '{unknown[0]}': the studies are {', '.join(by_title)}.")
    table = Table(title=f"claims, 95 % intervals over {options.seeds} seeds", show_lines=True)
    for column in ("claim", "verdict", "mean [interval]", "claimed", "what is measured"):
        table.add_column(column)
    record: list[dict[str, Any]] = []
    lines = ["| claim | verdict | mean [95 % interval] | claimed | what is measured |", "|---|---|---|---|---|"]
    for name in options.studies:
        for finding in check(by_title[name], options.storage, options.seeds):
            claim = finding.claim
            numbers = f"{finding.mean:.4g} [{finding.low:.4g}, {finding.high:.4g}]"
            table.add_row(claim.text, finding.verdict, numbers, f"> {claim.margin:g}", claim.measure)
            text = claim.text.replace("|", "\\|")
            lines.append(f"| {text} | **{finding.verdict}** | {numbers} | > {claim.margin:g} | {claim.measure} |")
            record.append({"study": name, "claim": claim.text, "verdict": finding.verdict, "effects": finding.effects})
    Console(width=180).print(table)
    (options.storage / "claims.json").write_text(json.dumps(record, indent=2))
    (options.storage / "claims.md").write_text("\n".join(lines) + "\n")
    print(
        f"every effect of every seed: {options.storage / 'claims.json'}; as Markdown: {options.storage / 'claims.md'}"
    )


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(tyro.cli(Options, description=__doc__))
