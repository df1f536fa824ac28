"""What a run reported, in order: rows of (step, metrics), read back as series by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class History:
    """Rows of metrics.

    Example:
        >>> history = History([(10, {"loss": 2.0}), (20, {"loss": 1.0, "validation/loss": 1.5})])
        >>> history.series("validation/loss")
        (array([20]), array([1.5]))
    """

    rows: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one row."""
        self.rows.append((step, dict(metrics)))

    def frame(self) -> DataFrame:
        """A pandas table: a row per step, a column per metric, empty where a metric was not due."""
        from pandas import DataFrame, Index

        steps = Index([step for step, _ in self.rows], name="step")
        return DataFrame([dict(metrics) for _, metrics in self.rows], index=steps, columns=self.names())

    def names(self) -> list[str]:
        """The names of all metrics that occur."""
        return sorted({name for _, metrics in self.rows for name in metrics})

    def series(self, name: str) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The steps at which a metric was reported, and its values."""
        reported = [(step, metrics[name]) for step, metrics in self.rows if name in metrics]
        steps: Iterable[int] = (step for step, _ in reported)
        return np.array(list(steps), dtype=int), np.array([value for _, value in reported], dtype=float)
