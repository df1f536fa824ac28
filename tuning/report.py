"""What came of a sweep, to be read: its comparison as a picture, its means with intervals, its table in Markdown."""

from __future__ import annotations

import math
from pathlib import Path

from cluster.sweep_record import in_words
from genlib.intervals import mean_interval
from genlib.settings import digits
from tuning.space import axes
from tuning.sweep import Measured, Sweep, Swept

PANELS = 6
"""The most panels that a picture has room for."""


def draw_comparison(sweep: Sweep, swept: Swept, across: str, by: str) -> Path | None:
    """The picture of a sweep in its folder; None where `across` or `by` is not in its space.

    Arguments:
        across, by: the fields on the horizontal axis and in the colours; a third one makes panels.
    """
    from genlib.figures.comparison import Row, comparison  # matplotlib is not needed before

    best, metric = swept.rows[0], sweep.metric
    if across not in sweep.space or by not in sweep.space:
        return None
    panel = next((name for name in sweep.space if name not in (across, by)), None)
    if panel and len({row.fields[panel] for row in swept.rows}) > PANELS:
        panel = None  # drawn values, say: they would make a panel each

    def shown(row: Measured) -> Row:
        return Row(row.fields[across], row.fields[by], row.fields[panel] if panel else None, row.values(metric))

    rows = [shown(row) for row in sorted(swept.rows, key=lambda row: _place(sweep, row))]
    floors = [metrics[f"{metric}_floor"] for metrics in best.metrics.values() if f"{metric}_floor" in metrics]
    picture = swept.folder / "comparison.png"
    floor = sum(floors) / len(floors) if floors else None
    figure = comparison(rows, names=(across, by, panel), metric=metric, floor=floor, best=shown(best))
    figure.savefig(picture)
    return picture


def summary(sweep: Sweep, swept: Swept) -> str:
    """What was asked and what came of it, in Markdown."""
    note = [f"A sweep of `{sweep.study.title()}` over {', '.join(sweep.space)}, compared by `{sweep.metric}`.", ""]
    note += ["| " + " | ".join((*sweep.space, sweep.metric)) + " |", "|" + "---|" * (len(sweep.space) + 1)]
    for row in swept.rows:
        cells = [*(digits(row.fields[name]) for name in sweep.space), cell(row, sweep.metric)]
        note.append("| " + " | ".join(cells) + " |")
    return "\n".join(note)


def leader(sweep: Sweep, swept: Swept) -> str:
    """The best setting so far under the seed that searches: other seeds come to some settings sooner than to others."""
    searched = [(row.metrics[sweep.seeds[0]], row) for row in swept.rows if sweep.seeds[0] in row.metrics]
    found = [(metrics[sweep.metric], row) for metrics, row in searched if sweep.metric in metrics]
    best = sweep.better([value for value, _ in found])
    return next(
        (f" · best {sweep.metric} {value:.4g} ({in_words(row.fields)})" for value, row in found if value == best), ""
    )


def mean(row: Measured, metric: str) -> float:
    """The mean of a setting's values over its seeds."""
    values = row.values(metric)
    return sum(values) / len(values)


def cell(row: Measured, metric: str) -> str:
    """The mean over seeds with half its 95 % interval; the value alone where there is one."""
    values = row.values(metric)
    if not values:
        return "–"
    middle, low, high = mean_interval(values)
    return f"{middle:.4g}" if math.isinf(high) else f"{middle:.4g} ± {(high - low) / 2:.2g}"


def _place(sweep: Sweep, row: Measured) -> tuple[int, ...]:
    """Where a setting stands in the space: lists in their order, drawn values by size."""
    listed = [(name, values) for name, values in axes(sweep.study, sweep.space).items() if isinstance(values, list)]
    return tuple(values.index(row.fields[name]) for name, values in listed)
