"""What was measured and is shown in the pages, as numbers: written by the scripts that measure, with `--record`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genlib.intervals import mean_interval

RECORDED = Path(__file__).parents[1] / "pages" / "recorded"


def read_record(name: str) -> Any:
    """The numbers recorded under a name."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def write_record(name: str, content: Any) -> None:
    """Replace the numbers recorded under a name."""
    (RECORDED / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, half the 95 % interval where there is one, and number of seeds."""
    mean, low, high = mean_interval(values)
    half = (high - low) / 2
    interval = {"half": half} if math.isfinite(half) and half > 0 else {}
    return {"mean": mean, **interval, "seeds": len(values)}


def cell(numbers: dict[str, float] | None, digits: int) -> str:
    """A recorded summary in a table: mean ± half the interval."""
    if numbers is None:
        return "–"
    half = f" ± {numbers['half']:.{digits}f}" if "half" in numbers else ""
    return f"{numbers['mean']:.{digits}f}{half}"
