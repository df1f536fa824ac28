"""Every claim of VICReg has an effect, at the size of a test; some of these are known beforehand."""

import math
from dataclasses import replace

import pytest

from genlib import VICReg, fit
from genlib.needs import lending
from genlib.studies.vicreg.claims import CLAIMS, VIEWS

pytestmark = pytest.mark.slow
TINY = VICReg.preset("tiny")


def tiny_of(study):
    """The tiny study that differs from the tiny one of views as a claim's study differs from its."""
    ours, views = study.fields(), VIEWS.fields()
    changes = {name: value for name, value in ours.items() if value != views[name]}
    return replace(TINY, **changes | ({"steps": 10} if "steps" in changes else {}))


@pytest.fixture(scope="module")
def effects():
    runs = {}

    def trained(study):
        if study not in runs:
            with lending(lambda needed: trained(needed).model):
                runs[study] = fit(study)
                _ = runs[study].evaluation
        return runs[study]

    with lending(lambda needed: trained(needed).model):
        return {claim.text: claim.effect([trained(tiny_of(study)) for study in claim.studies]) for claim in CLAIMS}


def test_every_claim_has_an_effect(effects):
    assert len(effects) == len(CLAIMS)
    assert all(map(math.isfinite, effects.values()))


def test_what_is_known_beforehand(effects):
    assert -0.2 < effects["Free codes are at chance"] <= 0
    assert 0 <= effects["The seven most anomalous images are digits"] <= 1
    assert effects["Without the variance term the embedding collapses to fewer directions"] > 0
    assert 0.3 < effects["Vehicles and animals part"] <= 1
    assert effects["Images that are far from one another are far from many: hubs"] > 0.45


def test_every_claim_names_the_model_of_views_first():
    assert all(claim.studies[0] == VIEWS for claim in CLAIMS)
    assert all(study.course() for claim in CLAIMS for study in claim.studies)
