"""How good samples are, in numbers. Functions of arrays; scikit-learn and SciPy are imported where they are used."""

from genlib.metrics.c2st import c2st
from genlib.metrics.coverage import coverage, leakage
from genlib.metrics.sliced_wasserstein import sliced_wasserstein, sliced_wasserstein_floor

__all__ = ["c2st", "coverage", "leakage", "sliced_wasserstein", "sliced_wasserstein_floor"]
