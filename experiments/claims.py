"""The reports' findings, checked: supported, refuted or undecided, from a paired 95 % interval over seeds.

python experiments/claims.py [STUDY …] [--only TEXT …] [--storage runs] [--seeds 3] [--plan]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table

from cluster.execution import execute
from cluster.opening import open_run
from cluster.run import Run
from cluster.workers import Workers
from experiments.command.arguments import POSITIONAL, read
from experiments.command.console import conclude, print_lines
from experiments.command.exits import exit_with_a_sentence
from experiments.command.options import ManyOptions, end, only_planned
from experiments.command.record import read_record, write_record
from experiments.command.watching import watching_many
from genlib import STUDIES, Claim, Finding, InputError, Study, Trained, find_study, views_of, weigh
from tuning.many import run_many


@dataclass(frozen=True)
class ClaimOptions(ManyOptions):
    """Which claims to check, and where and how their runs are done."""

    studies: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Studies whose claims are checked: names of the catalogue, or places of your own studies; all by default."""
    only: tuple[str, ...] = ()
    """Texts, one of which the checked claims must contain; none for all claims."""
    record: bool = False
    """Record the verdicts for the pages, where `make pages` shows them."""
    seeds: int = 3
    """Number of seeds per claim: 0, 1, …"""


def train(run: Run, *, workers: Workers, device: str, any_device: bool) -> None:
    """Train a run without evaluating it; claims look at the model themselves."""
    execute(run, workers, device=device, evaluation=False, any_device=any_device)


def effects(run: Run, *, claims: list[tuple[int, Claim]], storage: str) -> dict[int, float]:
    """The effects, at this run's seed, of all claims whose first study it is."""

    @cache  # a run that several claims look at is opened, and evaluated, once
    def opened(study: Study[Any]) -> Trained[Any]:
        mine = replace(study, seed=run.study.seed)
        return replace(open_run(Run(mine, storage).path), study=mine)  # measured as the claim has it

    return {number: claim.effect([opened(study) for study in claim.studies]) for number, claim in claims}


def compared(claims: Sequence[Claim], seeds: int) -> list[Study[Any]]:
    """Every study, for each seed, whose run the claims look at."""
    studies = [replace(study, seed=seed) for claim in claims for study in claim.studies for seed in range(seeds)]
    return list(dict.fromkeys(studies))


def check(kind: type[Study[Any]], claims: Sequence[Claim], options: ClaimOptions) -> list[Finding]:
    """Train what claims of a kind of study compare, over seeds, and weigh each claim."""
    storage, seeds = options.root, options.seeds
    how = partial(train, workers=options.group, device=options.device, any_device=options.any_device)
    studies = compared(claims, seeds)
    with watching_many([Run(study, storage) for study in studies], f"{kind.title()}, training") as one_more:
        for _ in run_many(studies, storage, how, workers=options.group, evaluated=False, packs=options.may_pack):
            one_more()
    measured: dict[int, dict[int, float]] = {number: {} for number in range(len(claims))}
    for first in dict.fromkeys(claim.studies[0] for claim in claims):
        numbered = [(number, claim) for number, claim in enumerate(claims) if claim.studies[0] == first]
        work = partial(effects, claims=numbered, storage=str(storage.absolute()))
        seeded = [replace(first, seed=seed) for seed in range(seeds)]
        doing = f"{kind.title()}, measuring the effects of {len(numbered)} claim{'s' * (len(numbered) > 1)}"
        with watching_many([Run(study, storage) for study in seeded], doing) as one_more:
            for done in run_many(seeded, storage, work):
                one_more()
                for number, effect in done.value.items():
                    measured[number][done.study.seed] = effect
    return [weigh(claim, [measured[n][seed] for seed in range(seeds)]) for n, claim in enumerate(claims)]


def chosen_claims(options: ClaimOptions) -> dict[str, tuple[Claim, ...]]:
    """The claims to check, by the names of their studies.

    Raises:
        InputError: a study claims nothing, or nothing that contains the text asked for.
    """
    names = options.studies or tuple(kind.title() for kind in STUDIES if views_of(kind).claims)
    claims = {name: views_of(find_study(name)).claims for name in names}
    for name in names:
        if not claims[name]:
            raise InputError(f"{name} claims nothing: give a study that has claims.")
    wanted = options.only or ("",)
    for text in wanted:
        if not any(text in claim.text for some in claims.values() for claim in some):
            raise InputError(f"--only: got {text!r}, which no claim of {', '.join(names)} has in its text.")
    chosen = {name: tuple(claim for claim in claims[name] if any(text in claim.text for text in wanted))
              for name in names}  # fmt: skip
    return {name: some for name, some in chosen.items() if some}


def with_news(recorded: list[dict[str, Any]], news: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The verdicts on record with new ones of genlib's studies in their places; a study's are in its claims' order."""
    known = {(verdict["study"], verdict["claim"]): verdict for verdict in [*recorded, *news]}
    ours = {kind.title(): views_of(kind).claims for kind in STUDIES}
    studies = dict.fromkeys(study for study, _ in known if study in ours)
    places = [(study, claim.text) for study in studies for claim in ours[study]]
    return [{k: v for k, v in known[place].items() if k != "effects"} for place in places if place in known]


def main(options: ClaimOptions) -> None:
    """Check the claims and print the findings."""
    chosen = chosen_claims(options)
    if options.seeds < 2:
        raise InputError(f"--seeds: got {options.seeds}; an interval needs at least 2.")
    studies = [study for claims in chosen.values() for study in compared(claims, options.seeds)]
    runs = [Run(study, options.root) for study in studies]
    if only_planned(options, runs):
        return
    table = Table(title=f"claims, 95 % intervals over {options.seeds} seeds", show_lines=True)
    for column in ("claim", "verdict", "mean [interval]", "claimed", "what is measured"):
        table.add_column(column)
    record: list[dict[str, Any]] = []
    lines = ["| claim | verdict | mean [95 % interval] | claimed | what is measured |", "|---|---|---|---|---|"]
    for name, claims in chosen.items():
        for finding in check(find_study(name), claims, options):
            claim = finding.claim
            numbers = f"{finding.mean:.4g} [{finding.low:.4g}, {finding.high:.4g}]"
            table.add_row(claim.text, finding.verdict, numbers, f"> {claim.margin:g}", claim.measure)
            text = claim.text.replace("|", "\\|")
            lines.append(f"| {text} | **{finding.verdict}** | {numbers} | > {claim.margin:g} | {claim.measure} |")
            record.append(
                {
                    "study": name, "claim": claim.text, "verdict": finding.verdict, "mean": finding.mean,
                    "low": finding.low, "high": finding.high, "seeds": options.seeds, "margin": claim.margin,
                    "measure": claim.measure, "effects": finding.effects,
                }
            )  # fmt: skip
    Console(stderr=options.json, width=180).print(table)
    (options.root / "claims.json").write_text(json.dumps(record, indent=2))
    if options.record:
        write_record("claims", with_news(read_record("claims"), record))
    (options.root / "claims.md").write_text("\n".join(lines) + "\n")
    print_lines(options.console, {"effects": f"{options.root}/claims.json", "markdown": f"{options.root}/claims.md"})
    end(options)
    conclude([run.result() for run in runs], as_json=options.json)


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(ClaimOptions, about=__doc__))
