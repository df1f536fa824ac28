"""Ten thousand fuzzed studies are constructed or refused by name; some of those constructed run right at tiny size."""

import math
import random
from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from genlib import STUDIES, Diverged, InputError, fit

ODD = (
    -1,
    0,
    1,
    2,
    7,
    64,
    0.5,
    1.0,
    1e-9,
    1e12,
    2**70,
    math.nan,
    math.inf,
    True,
    None,
    "",
    "exp5",
    "nonsense",
    [],
    (1, 2),
)
BOUNDED = {
    "steps": 3,
    "samples": 60,
    "likelihood_points": 4,
    "likelihood_steps": 2,
    "bound_draws": 4,
    "sampling_steps": 4,
}
SMALL = {"batch_size": 12, "width": 8, "depth": 3, "points": 40, "fourier_features": 4, "class_embedding": 4}


def drawn(random_, hint):
    """A value of the field's kind most of the time, something odd otherwise."""
    if random_.random() < 0.03:
        return random_.choice(ODD)
    if get_origin(hint) is Literal:
        return random_.choice(get_args(hint))
    if hint is int:
        return random_.choice((0, 1, 2, 3, 5, 8, 60, random_.randrange(10_000)))
    if hint is float:
        return random_.choice((0.0, 0.5, 1.0, 10 ** random_.uniform(-6, 2)))
    return random_.random() < 0.5 if hint is bool else "text"


def fuzzed(kind, seed):
    """Some fields at random, on top of a preset."""
    random_ = random.Random(f"{kind.__name__} {seed}")
    hints = get_type_hints(kind)
    names = [declared.name for declared in fields(kind)]
    chosen = random_.sample(names, random_.randint(1, 6))
    return kind.preset("tiny").fields() | {name: drawn(random_, hints[name]) for name in chosen}


@pytest.mark.slow
def test_studies_are_constructed_or_refused_by_name(kind):
    made = 0
    for seed in range(10_000 // len(STUDIES)):
        asked = fuzzed(kind, seed)
        try:
            study = kind(**asked)
        except InputError as refusal:
            if not any(f"{kind.__name__}.{name}" in str(refusal) for name in asked):
                pytest.fail(f"no field is named: {refusal}")
        else:
            made += 1
            assert kind(**study.fields()) == study
    assert made > 500


@pytest.mark.slow
def test_what_is_constructed_runs(kind):
    done = seed = 0
    while done < 200 // len(STUDIES):
        seed += 1
        asked = fuzzed(kind, seed)
        try:
            study = kind(**asked)
            study = kind(
                **{
                    k: min(v, (BOUNDED | SMALL).get(k, v)) if isinstance(v, int) else v
                    for k, v in study.fields().items()
                }
            )
        except InputError:
            continue
        try:
            trained = fit(study)
        except Diverged:  # a wild learning rate
            pass
        else:
            assert all(isinstance(value, float) for value in trained.evaluation.metrics.values())
        done += 1
