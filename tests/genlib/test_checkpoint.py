"""Checkpoints are whole or refused, and belong to one study."""

import pytest
import torch

from genlib import (
    CheckpointError,
    PointDiffusion,
    SpiralDiffusion,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    start,
    train,
)

STUDY = PointDiffusion.preset("tiny")


@pytest.fixture
def saved(tmp_path):
    state = start(STUDY)
    list(train(STUDY, state, until=7))
    return save_checkpoint(tmp_path, STUDY, state)


def test_round_trip(saved):
    state = load_checkpoint(saved, STUDY)
    assert state.step == 7
    assert checkpoints(saved.parent) == [saved]
    assert saved.name == "step-00000007"


def test_folders_sort_by_step(saved):
    state = load_checkpoint(saved, STUDY)
    for step in (12, 200, 9):
        state.step = step
        save_checkpoint(saved.parent, STUDY, state)
    assert [int(path.name[5:]) for path in checkpoints(saved.parent)] == [7, 9, 12, 200]


@pytest.mark.parametrize("where", [0, 100, 5_000, -1])
def test_one_flipped_bit_is_noticed(saved, where):
    payload = bytearray((saved / "state.pt").read_bytes())
    payload[where] ^= 1
    (saved / "state.pt").write_bytes(payload)
    with pytest.raises(CheckpointError, match=r"is damaged: state.pt has SHA-256 .* use an earlier one"):
        load_checkpoint(saved, STUDY)


def test_a_cut_file_is_noticed(saved):
    payload = (saved / "state.pt").read_bytes()
    (saved / "state.pt").write_bytes(payload[: len(payload) // 2])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(saved, STUDY)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"study": 1}'])
def test_a_damaged_manifest_is_noticed(saved, content):
    (saved / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"is damaged: manifest.json"):
        load_checkpoint(saved, STUDY)


def test_missing_parts_are_named(saved, tmp_path):
    (saved / "state.pt").unlink()
    with pytest.raises(CheckpointError, match=r"state.pt cannot be read"):
        load_checkpoint(saved, STUDY)
    with pytest.raises(CheckpointError, match=r"is no checkpoint.*give a folder named step-"):
        load_checkpoint(tmp_path / "nowhere", STUDY)


def test_another_studys_checkpoint_is_refused_by_what_differs(saved, monkeypatch):
    with pytest.raises(CheckpointError, match="its width is 16, asked is 32"):
        load_checkpoint(saved, PointDiffusion.preset("tiny", width=32))
    with pytest.raises(CheckpointError, match=r"its study is .*PointDiffusion, asked is .*SpiralDiffusion"):
        load_checkpoint(saved, SpiralDiffusion.preset("tiny"))
    monkeypatch.setattr(PointDiffusion, "version", 99)
    with pytest.raises(CheckpointError, match="its version is 1, asked is 99"):
        load_checkpoint(saved, STUDY)


def test_evaluation_fields_do_not_matter(saved):
    assert load_checkpoint(saved, PointDiffusion.preset("tiny", sampling_steps=3)).step == 7


def test_nothing_in_it_needs_pickle(saved):
    assert torch.load(saved / "state.pt", weights_only=True)["step"] == 7


def test_a_failed_write_leaves_nothing_behind(saved, monkeypatch):
    import genlib.checkpoint as module

    def full(*_):
        raise OSError(28, "No space left on device")

    state = load_checkpoint(saved, STUDY)
    state.step = 8
    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(saved.parent, STUDY, state)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
