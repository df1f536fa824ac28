"""Many runs at once, without a search."""

from cluster.directory import read_result
from genlib import PointDiffusion
from tuning.many import run_many


def test_many_runs_at_once(tmp_path, session):
    def train(run):
        return run.execute(figures=False)[0]["nll"]

    studies = [PointDiffusion.preset("tiny", seed=seed) for seed in (0, 1, 0)]
    done = list(run_many(studies, tmp_path, train))
    assert {item.study.seed for item in done} == {0, 1}
    assert all(read_result(item.path).status == "FINISHED" for item in done)
