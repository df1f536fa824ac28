"""Every claim of image diffusion has an effect, at the size of a test."""

import math
from dataclasses import replace

import pytest

from genlib import ImageDiffusion, fit
from genlib.studies.image_diffusion import claims
from genlib.studies.image_diffusion.claims import CLAIMS, SMALL

TINY = ImageDiffusion.preset("tiny")


def tiny_of(study):
    """The tiny study that differs from the tiny one as a claim's study differs from the small one."""
    ours, small = study.fields(), SMALL.fields()
    kept = ("network", "positions")
    return replace(TINY, **{name: ours[name] for name in kept if ours[name] != small[name]})


@pytest.fixture(scope="module")
def effects():
    runs = {}

    def trained(study):
        if study not in runs:
            runs[study] = fit(study)
        return runs[study]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "COUNT", 40)
        return {claim.text: claim.effect([trained(tiny_of(study)) for study in claim.studies]) for claim in CLAIMS}


def test_every_claim_has_an_effect(effects):
    assert len(effects) == len(CLAIMS)
    assert all(map(math.isfinite, effects.values()))
    assert 0 <= effects["Without a text they are random"] <= math.log(10) + 1e-6
    assert -1 <= effects["Without a text too the digit is certain before the last third of the steps"] <= 0
