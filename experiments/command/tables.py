"""What the scripts that end in a table share: means with intervals, and Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from genlib.intervals import mean_interval


def cell(values: Sequence[float], digits: int) -> str:
    """Mean ± half the 95 % interval; the mean alone where there is no interval, or none to speak of."""
    if not values:
        return "–"
    mean, low, high = mean_interval(values)
    half = (high - low) / 2
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if math.isfinite(half) and high > low else f"{mean:.{digits}f}"


def with_ratios(metrics: dict[str, float]) -> dict[str, float]:
    """A study's metrics, and those derived from them that tables show for a study of points."""
    if "sliced_wasserstein" not in metrics:
        return metrics
    ratio = {"sliced_wasserstein_ratio": metrics["sliced_wasserstein"] / metrics["sliced_wasserstein_floor"]}
    percent = {"leakage_percent": 100 * metrics["leakage"]} if "leakage" in metrics else {}
    return metrics | ratio | percent


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
