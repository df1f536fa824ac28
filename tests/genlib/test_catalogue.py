"""The one list: every study has its views, its claims are well-formed and run, and nobody below knows of them."""

import math
import pickle
from dataclasses import dataclass, replace

import pytest

from genlib import CATALOGUE, STUDIES, Claim, Entry, InputError, PointDiffusion, Views, find_study, fit, views_of
from genlib.catalogue import CARRIED

CLAIMING = [kind for kind in STUDIES if views_of(kind).claims]
claiming = pytest.mark.parametrize("kind", CLAIMING, ids=lambda kind: kind.title())


def tiny_copy(study):
    """The claim's setting at the size of the tiny preset."""
    kind = type(study)
    shrunk = {name: value for name, value in kind.presets["tiny"].items() if name not in ("samples",)}
    return replace(study, **shrunk)


def test_the_studies_of_the_reports_claim_something():
    assert {kind.title() for kind in STUDIES} - {kind.title() for kind in CLAIMING} == {"digit-judge"}
    assert len({entry.study.title() for entry in CATALOGUE}) == len(CATALOGUE)


@claiming
def test_claims_are_data(kind):
    claims = views_of(kind).claims
    assert len({claim.text for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.studies
        assert isinstance(claim.studies[0], kind)
        assert all(type(study) in STUDIES for study in claim.studies)
        assert claim.measure


@pytest.mark.slow
@claiming
def test_effects_run_on_any_model(kind):
    for claim in views_of(kind).claims:
        effect = claim.effect([fit(tiny_copy(study)) for study in claim.studies])
        assert math.isfinite(effect), claim.text


def test_studies_are_found_by_their_name():
    assert all(find_study(kind.title()) is kind for kind in STUDIES)
    with pytest.raises(InputError, match=r"unknown study 'vicregg': the studies are point-diffusion, .*mine.py:Mine"):
        find_study("vicregg")


@dataclass(frozen=True, kw_only=True)
class Watched(PointDiffusion):
    """A study of one's own with views beside it."""


@dataclass(frozen=True, kw_only=True)
class Unwatched(PointDiffusion):
    """And one without."""


CLAIM = Claim("it runs", (Watched.preset("tiny"),), lambda runs: 1.0, "runs")
ENTRY = Entry(Watched, views=lambda: Views(lambda study, model, history: {"mine": None}, (CLAIM,)))


def test_an_own_study_has_the_views_given_beside_it_or_a_curve_of_its_losses():
    assert views_of(Watched).claims == (CLAIM,)
    assert fit(Watched.preset("tiny")).figures == {"mine": None}
    assert views_of(Unwatched).claims == ()
    assert set(fit(Unwatched.preset("tiny")).figures) == {"loss"}


def test_views_travel_with_the_class():
    class Sent(PointDiffusion):
        pass

    setattr(Sent, CARRIED, lambda: Views(lambda *_: {}, (CLAIM,)))
    assert views_of(Sent).claims == (CLAIM,)


def test_a_finished_run_can_be_pickled():
    trained = fit(PointDiffusion.preset("tiny"))
    again = pickle.loads(pickle.dumps(trained))
    assert again.study == trained.study
    assert set(again.figures) == set(trained.figures)
