"""Verdicts follow from intervals; every study's claims are well-formed and run."""

import math
from dataclasses import replace

import numpy as np
import pytest

from genlib import STUDIES, Claim, fit, judge
from genlib.claims import interval

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
    finding = judge(CLAIM, effects)
    assert finding.verdict == verdict
    assert verdict in str(finding)
    assert f"{len(effects)} seeds" in str(finding)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [low < 0 < high for _, low, high in (interval(rng.normal(size=3)) for _ in range(2_000))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)
    assert interval([1.0])[1:] == (-math.inf, math.inf)


def tiny_copy(study):
    """The claim's setting at the size of the tiny preset."""
    kind = type(study)
    shrunk = {name: value for name, value in kind.presets["tiny"].items() if name not in ("samples",)}
    return replace(study, **shrunk)


@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.title())
def test_claims_are_data(kind):
    claims = kind.claims()
    assert claims
    assert len({claim.text for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.studies
        assert isinstance(claim.studies[0], kind)
        assert all(type(study) in STUDIES for study in claim.studies)
        assert claim.measure


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.title())
def test_effects_run_on_any_model(kind):
    for claim in kind.claims():
        effect = claim.effect([fit(tiny_copy(study)) for study in claim.studies])
        assert math.isfinite(effect), claim.text
