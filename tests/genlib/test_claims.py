"""Verdicts follow from intervals."""

import math

import numpy as np
import pytest

from genlib import Claim, weigh
from genlib.intervals import mean_interval

CLAIM = Claim("more is better", (), lambda runs: 0.0, "gain", margin=1.0)


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([2.0, 2.1, 1.9], "supported"),
        ([0.0, 0.1, -0.1], "refuted"),
        ([0.5, 1.5, 1.0], "undecided"),
        ([5.0], "undecided"),
    ],
)
def test_verdicts(effects, verdict):
    finding = weigh(CLAIM, effects)
    assert finding.verdict == verdict
    assert verdict in str(finding)
    assert f"{len(effects)} seeds" in str(finding)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [low < 0 < high for _, low, high in (mean_interval(rng.normal(size=3)) for _ in range(2_000))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)
    assert mean_interval([1.0])[1:] == (-math.inf, math.inf)
