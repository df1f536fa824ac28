"""Fields are typed, ranged and refused by name; identity follows the training fields alone."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from genlib import InputError, PointDiffusion, SpiralDiffusion
from genlib.settings import is_evaluation


def test_json_round_trip_changes_nothing(tiny):
    back = type(tiny)(**json.loads(json.dumps(tiny.fields())))
    assert back == tiny
    assert back.key() == tiny.key()


@pytest.mark.parametrize("preset", ["report", "best", "tiny"])
def test_every_study_has_the_three_presets_and_the_shared_fields(kind, preset):
    study = kind.preset(preset)
    names = {f.name for f in fields(study)}
    assert {"seed", "steps", "batch_size", "learning_rate"} <= names
    assert (study == kind()) == (preset == "report")


def test_numbers_are_coerced_before_they_are_hashed():
    plain = PointDiffusion(width=64, learning_rate=1.0)
    assert plain.key() == PointDiffusion(width=np.int64(64), learning_rate=1).key()
    assert plain.key() == PointDiffusion(width=64.0, learning_rate=np.float32(1)).key()
    assert type(PointDiffusion(width=np.int64(64)).width) is int


def test_large_seeds_stay_apart():
    assert PointDiffusion(seed=2**53).key() != PointDiffusion(seed=2**53 + 1).key()


def test_evaluation_fields_do_not_enter_the_identity(tiny):
    looks = {declared.name for declared in fields(tiny) if is_evaluation(declared)}
    assert looks >= {"samples", "sampling_steps", "solver"} & set(tiny.fields())
    if looks:
        other = {"samples": 60} if "samples" in looks else {"floors": not tiny.floors}
        assert replace(tiny, **other).key() == tiny.key()
    assert replace(tiny, seed=7).key() != tiny.key()


def test_version_enters_the_identity(tiny):
    later = type("Later", (type(tiny),), {"version": 2, "__module__": type(tiny).__module__})
    later.__qualname__ = type(tiny).__qualname__
    assert later(**tiny.fields()).key() != tiny.key()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3}, ["PointDiffusion", "widht", "did you mean 'width'"]),
        ({"width": 0}, ["PointDiffusion.width", "got 0", "an integer of at least 1"]),
        ({"width": 2.5}, ["PointDiffusion.width", "got 2.5", "an integer of at least 1"]),
        ({"width": True}, ["PointDiffusion.width", "got True"]),
        ({"width": "wide"}, ["PointDiffusion.width", "'wide'"]),
        ({"learning_rate": 0}, ["PointDiffusion.learning_rate", "got 0", "a number above 0"]),
        ({"learning_rate": float("nan")}, ["PointDiffusion.learning_rate", "nan"]),
        ({"ema_decay": 1}, ["PointDiffusion.ema_decay", "got 1", "at least 0 and below 1"]),
        ({"schedule": "exp7"}, ["PointDiffusion.schedule", "'exp7'", "exp3, exp5, exp10"]),
        ({"classes": 4}, ["classes", "got 4", "'square'", "0 (none) or 5"]),
        ({"classes": 3, "density": "spiral"}, ["classes", "got 3", "'spiral'", "no classes"]),
        ({"guidance": 2}, ["guidance", "got 2", "label_dropout"]),
        ({"classes": 5, "points": 3}, ["points", "got 3"]),
        ({"seed": -1}, ["PointDiffusion.seed", "got -1"]),
        ({"seed": 10**400}, ["PointDiffusion.seed"]),
        ({"schedule": np.array(["exp3"])}, ["PointDiffusion.schedule"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(given, said):
    with pytest.raises(InputError) as refusal:
        PointDiffusion(**given)
    message = str(refusal.value)
    assert all(part in message for part in said), message
    assert "\n" not in message


def test_unknown_preset_and_override_are_refused():
    with pytest.raises(InputError, match="no preset 'bset': it has report, best, tiny"):
        PointDiffusion.preset("bset")
    with pytest.raises(InputError, match="no field 'stepz'"):
        PointDiffusion.preset("best", stepz=3)


def test_spiral_refuses_betas_and_steps_that_do_not_fit():
    with pytest.raises(InputError, match=r"highest_beta: got 1e-05.*above lowest_beta"):
        SpiralDiffusion(highest_beta=1e-5)
    with pytest.raises(InputError, match=r"sampling_steps: got 41.*at most diffusion_steps, 40"):
        SpiralDiffusion(sampling_steps=41)


def test_names_on_the_command_line():
    made = {
        "ContinuousVAE": "continuous-vae",
        "TinyGPT": "tiny-gpt",
        "VICReg": "vicreg",
        "ColourTransfer": "colour-transfer",
    }
    for name, title in made.items():
        assert type(name, (PointDiffusion,), {}).title() == title
