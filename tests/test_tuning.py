"""A grid trains each setting of the training fields once and looks at it many times; results come from every run."""

import pytest

from genlib import InputError, PointDiffusion
from tuning.grid import evaluation_fields, grid

TINY = PointDiffusion.preset("tiny")
SPACE = {"schedule": ("exp3", "exp5"), "sampling_steps": (2, 4, 8)}


def test_evaluation_fields_share_one_training():
    settings = grid(TINY, SPACE)
    assert len(settings) == len(set(settings)) == 6
    assert len({setting.key() for setting in settings}) == 2
    assert evaluation_fields(TINY, SPACE) == ["sampling_steps"]


def test_spaces_that_do_not_fit_are_refused_before_anything_starts():
    with pytest.raises(InputError, match="no field 'shedule'"):
        grid(TINY, {"shedule": ("exp3",)})
    with pytest.raises(InputError, match="schedule: got 'exp7'"):
        grid(TINY, {"schedule": ("exp3", "exp7")})
    with pytest.raises(InputError, match="'width' no values"):
        grid(TINY, {"width": ()})


def test_many_runs_at_once(tmp_path):
    from cluster.run import Run
    from tuning.many import run_many

    def train(run):
        return run.finish(run.train(), figures=False)["nll"]

    studies = [PointDiffusion.preset("tiny", seed=seed) for seed in (0, 1, 0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        done = list(run_many(studies, tmp_path, train, cpus=2))
    assert {item.study.seed for item in done} == {0, 1}
    assert all((item.path / "result.json").exists() for item in done)
    alone = PointDiffusion.preset("tiny", seed=1)
    here = Run(alone, tmp_path / "here")
    assert next(item.value for item in done if item.study == alone) == train(here)
