"""The judge of digits: right nearly always, trained once, found again, made anew where it is damaged."""

import torch

from genlib import Draws
from genlib.data.images import images
from genlib.data.images.colours import inked
from genlib.metrics import judge as module


def test_the_judge_tells_digits_in_ink_of_any_hue_and_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path))
    monkeypatch.setitem(module.UPDATES, "digits", 150)
    module.judge.cache_clear()
    first = module.judge("digits")
    test = images("digits").test
    assert first.accuracy > 0.9
    coloured = inked(test.x, Draws(0, "hue").uniform(len(test.x)))
    assert (first.digits(coloured) == test.y).float().mean() > 0.9
    noise = Draws(0, "noise").uniform(500, 1, 28, 28)
    assert first.probabilities(noise).sum(1).allclose(torch.ones(500))

    (kept,) = (tmp_path / "judges").iterdir()
    before = kept.stat().st_mtime_ns
    module.judge.cache_clear()
    again = module.judge("digits")
    assert kept.stat().st_mtime_ns == before
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))

    kept.write_bytes(kept.read_bytes()[:1_000])
    module.judge.cache_clear()
    mended = module.judge("digits")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), mended.parameters(), strict=True))
    module.judge.cache_clear()


def test_where_the_data_may_only_be_read_the_judge_is_kept_at_home(tmp_path, monkeypatch):
    taken = tmp_path / "data"
    taken.write_text("a file, so that no folder can be made in it")
    monkeypatch.setenv("GENLIB_DATA", str(taken))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(module.UPDATES, "digits", 2)
    module.judge.cache_clear()
    module.judge("digits")
    assert len(list((tmp_path / ".cache/genlib/judges").iterdir())) == 1
    module.judge.cache_clear()
