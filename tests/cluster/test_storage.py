"""The storage: marked as ours, and its runs found by their keys."""

import pytest

from cluster.files import read_json
from cluster.run import Run
from cluster.storage import find_run, open_storage
from genlib import InputError, PointDiffusion

STUDY = PointDiffusion.preset("tiny", steps=40)


def test_runs_are_found_by_the_beginning_of_their_key(tmp_path):
    run = Run(STUDY, tmp_path)
    run.train()
    assert find_run(run.key[:5], tmp_path) == run.path
    assert find_run(f"point-diffusion/{run.key}", tmp_path) == run.path
    assert find_run(str(run.path), tmp_path / "elsewhere") == run.path
    for named in ("zzz", "", "/", ".", f"/elsewhere/{run.key}", f"elsewhere/{run.key}", "point-diffusion"):
        with pytest.raises(InputError, match=f"there is no run '{named}'"):
            find_run(named, tmp_path)


def test_a_storage_knows_itself(tmp_path):
    mark = read_json(open_storage(tmp_path / "runs") / "storage.json")
    assert read_json(open_storage(tmp_path / "runs") / "storage.json") == mark


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{")])
def test_a_storage_whose_mark_is_lost_keeps_its_id(tmp_path, damage):
    mark = open_storage(tmp_path / "runs") / "storage.json"
    known = read_json(mark)
    (tmp_path / "runs" / "a").mkdir() if mark.read_text() == "{" else None
    damage(mark)
    assert read_json(open_storage(tmp_path / "runs") / "storage.json") == known
