"""What a study needs is lent by whoever runs it; without a lender it is trained once, kept, and mended if damaged."""

from dataclasses import dataclass

import pytest
import torch

from genlib import ColourTransfer, DigitJudge, PointDiffusion, needs
from genlib.checkpoint import checkpoints
from genlib.needs import kept, lending, needed, untrained

TINY = DigitJudge.preset("tiny", steps=5)


@pytest.fixture(autouse=True)
def _forgotten():
    kept.cache_clear()
    yield
    kept.cache_clear()


@dataclass(frozen=True, kw_only=True)
class Taught(PointDiffusion):
    """A study that is trained with another one's model."""

    def needs(self):
        return {"teacher": PointDiffusion.preset("tiny", seed=self.seed)}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_it_is_trained_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path))
    first = kept(TINY)
    (folder,) = checkpoints(tmp_path / "trained" / TINY.title() / TINY.key())
    before = (folder / "state.pt").stat().st_mtime_ns
    kept.cache_clear()
    assert same(kept(TINY), first)
    assert (folder / "state.pt").stat().st_mtime_ns == before
    (folder / "state.pt").write_bytes((folder / "state.pt").read_bytes()[:1_000])
    kept.cache_clear()
    assert same(kept(TINY), first)
    kept.cache_clear()
    monkeypatch.setattr(needs, "train", None)  # the damaged one was made anew: nothing is trained now
    assert same(kept(TINY), first)


def test_where_the_data_may_only_be_read_it_is_kept_at_home(tmp_path, monkeypatch):
    taken = tmp_path / "data"
    taken.write_text("a file, so that no folder can be made in it")
    monkeypatch.setenv("GENLIB_DATA", str(taken))
    monkeypatch.setenv("HOME", str(tmp_path))
    kept(TINY)
    assert len(checkpoints(tmp_path / ".cache/genlib/trained" / TINY.title() / TINY.key())) == 1


def test_a_lender_comes_first_and_what_it_lends_is_what_was_asked_for():
    asked = []

    def lend(study):
        asked.append(study)
        return untrained(study)

    study = ColourTransfer.preset("tiny")
    with lending(lend), torch.no_grad():
        assert same(needed(study, "judge"), study.evaluation_needs()["judge"].model())
    assert asked == [study.evaluation_needs()["judge"]]


def test_training_inside_an_evaluation_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        kept(TINY)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_study_is_trained_with_enters_its_key_and_what_it_is_measured_with_does_not():
    plain = type("Taught", (PointDiffusion,), {})
    assert Taught.preset("tiny").key() != plain.preset("tiny").key()
    assert Taught.preset("tiny").identity()["needs"] == {"teacher": "point-diffusion/f0f2bcf17863"}
    assert "needs" not in ColourTransfer.preset("tiny").identity()


def test_its_bits_do_not_depend_on_the_callers_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path / "one"))
    alone = kept(TINY)
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path / "two"))
    kept.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert same(kept(TINY), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
