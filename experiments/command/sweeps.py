"""What every sweep script does: plan, run, and end in a table, a picture, the best setting and the way to compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from cluster.lease import refuse_held
from cluster.run import put_aside
from cluster.sweep_record import Best, in_words
from experiments.command.arguments import read
from experiments.command.console import as_command, conclude, print_lines
from experiments.command.exits import exit_with_a_sentence
from experiments.command.options import ManyOptions, begin, end
from experiments.command.watching import watching_sweep
from genlib.own import refuse_while_importing
from genlib.settings import digits
from tuning.report import cell, draw_comparison, mean, summary
from tuning.sweep import Placement, Search, Stopping, Sweep, Swept, check, plan

if TYPE_CHECKING:
    from tuning.driver import Driver


@dataclass(frozen=True)
class SweepOptions(ManyOptions):
    """Where and how to run, and what of the sweep may be changed from the command line."""

    search: Search | None = None
    """How settings are chosen: every combination, random ones, or those that Optuna proposes."""
    runs: int | None = None
    """Number of settings that a random search or Optuna tries."""
    stopping: Stopping | None = None
    """How hopeless runs are stopped early: not at all, by ASHA, or against the median."""
    seeds: tuple[int, ...] | None = None
    """Seeds: the first is for the search; the best settings are confirmed under the others."""
    confirm: int | None = None
    """Number of the best settings that are run under every seed; 0 for all."""
    minutes: float | None = None
    """Minutes for the whole sweep, 0 for no limit; what is cut short continues with the next call."""
    figures: int = 2
    """Number of the best settings whose figures are drawn; `runs.py draw RUN` draws those of any other run."""


class View(NamedTuple):
    """A sweep, and the fields on its comparison's horizontal axis and in its colours."""

    sweep: Sweep
    across: str
    by: str


def sweep_script(sweep: Sweep, *, across: str, by: str) -> None:
    """Run a sweep from the command line.

    Arguments:
        across, by: the fields on the comparison's horizontal axis and in its colours.
    """
    sweep_scripts(View(sweep, across, by))


def sweep_scripts(*views: View) -> None:
    """Run several sweeps, one after the other, from one command line."""
    with exit_with_a_sentence():
        refuse_while_importing()
        options = read(SweepOptions, about=sys.modules["__main__"].__doc__)
        names = ("search", "runs", "stopping", "seeds", "confirm", "minutes")
        changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        run([view._replace(sweep=replace(view.sweep, **changes)) for view in views], options)


def run(views: Sequence[View], options: SweepOptions) -> None:
    """Plan the sweeps, or run them and show what came of them."""
    placement = Placement(
        options.root, options.group, options.device, any_device=options.any_device, verbose=options.verbose,
        figures=options.figures, packs=options.packs,
    )  # fmt: skip
    if options.plan:
        for view in views:
            options.console.print("\n".join(plan(view.sweep, placement).lines()), highlight=False, soft_wrap=True)
        return
    for view in views:
        check(view.sweep, placement)
    begin(options)
    swept = [_run(view, placement, options) for view in views]
    if len(swept) > 1:
        options.console.print(_best_of_each(views, swept))
    results = [result for one in swept for result in one.results]
    end(options)
    about = [as_json(view.sweep, one) for view, one in zip(views, swept, strict=True)]
    conclude(results, as_json=options.json, more={"sweeps": about})


def _run(view: View, placement: Placement, options: SweepOptions) -> Swept:
    from tuning import run_sweep

    sweep, folder = view.sweep, options.root / view.sweep.slug
    if options.fresh and folder.exists():
        refuse_held(folder / "lease")
        sys.stderr.write(f"the earlier sweep is kept in {put_aside(folder, options.root)}\n")
    drivers: list[Driver] = []

    def watch(driver: Driver) -> Any:
        drivers.append(driver)
        return watching_sweep(driver)

    swept = run_sweep(sweep, placement, watch, checked=True)
    lines = {}
    if swept.rows:
        options.console.print(table(sweep, swept))
        lines = show(sweep, swept, drivers[0], view.across, view.by)
    print_lines(options.console, lines | {"runs": str(folder)})
    return swept


def as_json(sweep: Sweep, swept: Swept) -> dict[str, Any]:
    """A sweep as `--json` prints it: every measured setting, those of its looks too, the best first."""
    best = swept.rows[0] if swept.rows else None
    return {
        "name": sweep.name, "metric": sweep.metric, "mode": sweep.mode, "folder": str(swept.folder),
        "best": best and {
            "fields": best.fields, "value": mean(best, sweep.metric), "command": as_command(best.study)
        },
        "settings": [
            {"fields": row.fields, "seeds": {str(seed): metrics for seed, metrics in row.metrics.items()}}
            for row in swept.rows
        ],
        "stopped_early": swept.stopped,
    }  # fmt: skip


def _best_of_each(views: Sequence[View], swept: Sequence[Swept]) -> Table:
    """A table of every sweep's best setting, the best first; the sweeps share a metric."""
    metric, mode = views[0].sweep.metric, views[0].sweep.mode
    listing = Table("sweep", "setting", metric, title="the best of each")
    best = [(view.sweep.name, one.rows[0]) for view, one in zip(views, swept, strict=True) if one.rows]
    best.sort(key=lambda pair: mean(pair[1], metric), reverse=mode == "max")
    for name, row in best:
        listing.add_row(name, in_words(row.fields), cell(row, metric))
    return listing


def table(sweep: Sweep, swept: Swept) -> Table:
    """A table of the settings, best first; over several seeds with the mean and half the 95 % interval."""
    several = any(len(row.metrics) > 1 for row in swept.rows)
    listing = Table(title=f"{sweep.name}: best first" + (", mean ± half the 95 % interval" if several else ""))
    measured = {name for row in swept.rows for metrics in row.metrics.values() for name in metrics}
    shown = [sweep.metric, *(n for n in ("c2st", "nll", "clarity", "cpu_seconds") if n in measured - {sweep.metric})]
    for column in (*sweep.space, *(["seeds"] if several else []), *shown):
        listing.add_column(column.replace("_", " "), justify="right")
    for row in swept.rows:
        cells = [cell(row, name) for name in shown]
        listing.add_row(
            *(digits(row.fields[name]) for name in sweep.space), *([str(len(row.metrics))] if several else []), *cells
        )
    early = f"; {len(swept.stopped)} stopped early" if swept.stopped else ""
    listing.caption = f"{sum(result.status == 'FINISHED' for result in swept.results)} runs{early}"
    return listing


def show(sweep: Sweep, swept: Swept, driver: Driver, across: str, by: str) -> dict[str, str]:
    """Draw the comparison, record the best, and say where both are."""
    best = swept.rows[0]
    command = as_command(best.study)
    picture = draw_comparison(sweep, swept, across, by)
    driver.record_best(Best(mean(best, sweep.metric), command, best.fields), summary(sweep, swept))
    return ({"picture": str(picture)} if picture else {}) | {"best": command}
