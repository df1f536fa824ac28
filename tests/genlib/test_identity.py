"""A run's key follows from the study's name, never from its file; the keys of 0.4.0 are pinned, so its runs live on."""

import json
from pathlib import Path

import pytest

from genlib import STUDIES, CouplingFlow, FlowMatching, PointDiffusion, TinyGPT, load_checkpoint, save_checkpoint, start

GOLDEN = json.loads((Path(__file__).parent / "golden_keys.json").read_text())
"""Keys as 0.4.0 made them, preset by preset. A key changes only with a preset's values; a new study adds its own."""


@pytest.mark.parametrize("named", GOLDEN)
def test_the_keys_of_040_are_the_keys_of_today(named):
    title, preset = named.split()
    (kind,) = (kind for kind in STUDIES if kind.title() == title)
    assert kind.preset(preset).key() == GOLDEN[named]


def test_other_fields_keep_their_keys_too():
    assert PointDiffusion.preset("tiny", classes=5).key() == "75ff7738759b"
    assert FlowMatching.preset(
        "tiny", pairing="optimal", velocity="preconditioned", times="late", ema_decay=0.9
    ).key() == ("0ae74de2aaee")
    assert TinyGPT.preset("tiny", tokeniser="byte_pairs", dropout=0.2).key() == "cd19112c1853"


def test_the_key_of_a_preset_that_has_other_values_since_is_that_of_its_fields():
    best_until_050 = CouplingFlow(
        steps=4_000, scale_bound=1.0, fourier_features=4, fourier_scale=0.5, learning_rate=1.5e-3,
        learning_rate_schedule="cosine", warmup_steps=200, ema_decay=0.999,
    )  # fmt: skip
    assert best_until_050.key() == "b04b15834c4f"


def test_every_preset_is_pinned():
    assert {f"{kind.title()} {preset}" for kind in STUDIES for preset in kind.presets} == set(GOLDEN)


def test_a_moved_class_keeps_its_key():
    study = PointDiffusion.preset("tiny")
    moved = type("PointDiffusion", (PointDiffusion,), {"__module__": "somewhere.else_entirely"})
    assert moved(**study.fields()).key() == study.key()
    renamed = type("Diffusion", (PointDiffusion,), {"__module__": PointDiffusion.__module__})
    assert renamed(**study.fields()).key() != study.key()


def test_a_checkpoint_of_040_is_loaded(tmp_path, monkeypatch):
    study = PointDiffusion.preset("tiny")
    identity = study.identity() | {"study": "genlib.studies.point_diffusion:PointDiffusion"}
    with monkeypatch.context() as then:
        then.setattr(PointDiffusion, "identity", lambda self: identity)
        path = save_checkpoint(tmp_path, study, start(study))
    assert load_checkpoint(path, study).step == 0
