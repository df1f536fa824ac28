"""How sure a mean of a few independent values is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student t-interval of a few independent values; (−∞, ∞) around fewer than two.

    Example:
        >>> mean_interval([1.0])
        (1.0, -inf, inf)
    """
    from scipy.stats import t as student

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, -math.inf, math.inf
    half = float(student.ppf((1 + confidence) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return mean, mean - half, mean + half
