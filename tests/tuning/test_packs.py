"""What fits together trains as one, in sweeps and in gatherings, and nobody can tell by the runs."""

import math
from dataclasses import replace

import pytest

from cluster.directory import read_result
from cluster.holders import newest_epoch
from cluster.journal import read_rows
from cluster.run import Run
from cluster.sweep_record import read_sweep
from genlib import PointDiffusion, SpiralDiffusion, VICReg
from genlib.checkpoint import checkpoints
from tuning import Placement, Sweep, packs, run_sweep
from tuning.many import run_many
from tuning.packs import Halving, packing_of, probe_packs
from tuning.sweep import plan

TINY = SpiralDiffusion.preset("tiny", steps=40, validate_every=10, log_every=10)


@pytest.fixture
def always(monkeypatch):
    """Packs pay."""
    monkeypatch.setattr(packs, "probe_packs", lambda _, count, *more: packs.Probe(min(8, count), 0.001, 3))


def test_only_what_fits_is_packed_and_every_process_has_something_to_do(always):
    rates = [replace(TINY, learning_rate=1e-3 * (1 + k)) for k in range(8)]
    wide = [replace(TINY, width=2 * TINY.width, seed=seed) for seed in range(2)]
    images = [VICReg.preset("tiny", seed=seed) for seed in range(5)]
    found = packing_of([*rates, *wide, *images, *rates], 2)
    assert [[len(members) for members in stage] for stage in found.stages] == [[4, 4]]
    assert {study for members in found.packs for study in members} == set(rates)
    assert found.seconds == pytest.approx(0.001 * 8 * 40)


def test_no_pack_is_smaller_than_what_was_timed(monkeypatch):
    monkeypatch.setattr(packs, "probe_packs", lambda *_: packs.Probe(4, 0.001, 4))
    for count, sizes in {5: [5], 8: [4, 4], 9: [5, 4], 40: [4] * 10}.items():
        found = packing_of([replace(TINY, seed=seed) for seed in range(count)], 2)
        assert sorted(map(len, found.packs), reverse=True) == sizes


def test_packs_that_memory_does_not_hold_are_split_and_said(always, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(packs, "most_in_memory", lambda *_: 3)
    found = packing_of([replace(TINY, seed=seed) for seed in range(12)], 2)
    assert ([len(members) for members in found.packs], found.tight) == ([3, 3, 3, 3], True)
    packs.say_where_tight(found)
    assert capsys.readouterr().err == "packs of at most 3 runs: memory holds no larger ones\n"
    rates = [1e-3 * (1 + number) for number in range(8)]
    sweep = Sweep(name="rates", study=TINY, space={"learning_rate": rates}, metric="nll")
    assert any(line.endswith("each trained as one; memory holds no larger ones")
               for line in plan(sweep, Placement(tmp_path, cpus=1)).lines())  # fmt: skip
    assert not packing_of([replace(TINY, seed=seed) for seed in range(6)], 2).tight


def test_longer_runs_wait_for_the_shorter_ones_that_they_pass_through(always):
    studies = [replace(TINY, seed=seed, steps=steps) for steps in (40, 20) for seed in range(4)]
    stages = packing_of(studies, 1).stages
    assert [[study.steps for study in members] for stage in stages for members in stage] == [[20] * 4, [40] * 4]


def test_a_probe_tells_what_pays():
    small = PointDiffusion.preset("report", width=16, batch_size=16)
    assert probe_packs(small, 32, 32 * 10**5).size >= 8
    assert probe_packs(small, 32, 32).size == 1  # sooner done than told


def test_a_plan_says_what_is_packed(always, tmp_path):
    sweep = Sweep(name="rates", study=TINY, space={"learning_rate": [1e-3, 2e-3, 3e-3, 4e-3]}, metric="nll")
    assert "packs:    1 of 4 runs, each trained as one" in plan(sweep, Placement(tmp_path, cpus=1)).lines()
    apart = plan(sweep, Placement(tmp_path, cpus=1, packs=False))
    assert not any(line.startswith("packs") for line in apart.lines())


def rows(path):
    return [(row["step"], row["metrics"]) for row in read_rows(path / "journal")]


def test_a_sweep_trains_packs_and_gives_every_run_its_own(always, tmp_path, session):
    space = {"learning_rate": [1e-3, 2e-3, 3e-3, 4e-3], "sampling_steps": [2, 3]}
    sweep = Sweep(name="rates", study=TINY, space=space, metric="nll")
    swept = run_sweep(sweep, Placement(tmp_path))
    assert len(swept.rows) == 8
    for study in sweep.trained():
        alone = Run(study, tmp_path / "alone")
        alone.execute(figures=False)
        path = tmp_path / "rates" / study.key()
        for (step, ours), (other, theirs) in zip(rows(path), rows(alone.path), strict=True):
            assert step == other
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
        assert read_result(path).metrics["nll"] == pytest.approx(alone.result().metrics["nll"], rel=1e-3)
    assert run_sweep(sweep, Placement(tmp_path)).rows[0].metrics == swept.rows[0].metrics


def test_hopeless_members_end_early_and_stay_ended(always, tmp_path, session):
    sweep = Sweep(
        name="halving", study=TINY, space={"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2]}, metric="nll", stopping="asha"
    )
    swept = run_sweep(sweep, Placement(tmp_path, cpus=1))
    assert sorted(swept.stopped.values()) == [10, 10, 10]
    assert len(swept.rows) == 1
    assert read_sweep(tmp_path / "halving").stopped == swept.stopped
    for key, step in swept.stopped.items():
        assert read_result(tmp_path / "halving" / key).stopped_early == step
        assert rows(tmp_path / "halving" / key)[-1][0] == step
    again = run_sweep(sweep, Placement(tmp_path, cpus=1))
    assert (again.stopped, again.rows[0].metrics) == (swept.stopped, swept.rows[0].metrics)


def test_a_quarter_goes_on_at_every_rung(tmp_path):
    class Reported:
        def __init__(self, loss):
            self.study, self.loss, self.key = TINY, loss, f"{loss}"

    name = TINY.objective[0]
    halving = Halving(tmp_path, longest=100)
    runs = [Reported(loss) for loss in range(8)]
    at = {run: packs.Progress(10, {name: float(run.loss)}, None) for run in runs}
    assert halving(at) == runs[2:]
    assert halving({run: progress._replace(step=20) for run, progress in at.items()}) == []
    assert halving({run: progress._replace(step=40) for run, progress in at.items()}) == runs[2:]
    assert halving({run: progress._replace(step=100) for run, progress in at.items()}) == []
    lost = {run: progress._replace(metrics={name: math.nan}) for run, progress in at.items() if run is runs[0]}
    assert halving(at | lost) == [runs[0], *runs[3:]]


def test_who_comes_later_is_compared_with_those_who_have_been_there(tmp_path):
    name = TINY.objective[0]
    before = [Run(replace(TINY, seed=seed), tmp_path, sweep="rates") for seed in range(4)]
    for run in before:
        run.train()
    reached = sorted(
        row["metrics"][name] for run in before for row in read_rows(run.path / "journal") if row["step"] == 10
    )
    halving, late = Halving(tmp_path / "rates", longest=100), Run(replace(TINY, seed=9), tmp_path, sweep="rates")

    def judged(value):
        return halving({late: packs.Progress(10, {name: value}, None)})

    assert judged(reached[0] * 0.9) == []
    assert judged(reached[1] * 1.001) == [late]  # two of five go on


def work(run):
    return run.execute(figures=False)[0]["nll"]


def test_gatherings_pack_seeds_and_then_do_their_work_with_each(always, tmp_path, session):
    studies = [replace(TINY, seed=seed) for seed in range(4)]
    found = {done.study.seed: done.value for done in run_many(studies, tmp_path, work)}
    assert set(found) == {0, 1, 2, 3}
    lone = Run(studies[3], tmp_path / "alone")
    assert found[3] == pytest.approx(work(lone), rel=1e-3)


def test_runs_stopped_early_train_on_where_nothing_stops_them(always, tmp_path, session):
    space = {"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2]}
    sweep = Sweep(name="halving", study=TINY, space=space, metric="nll", stopping="asha")
    assert len(run_sweep(sweep, Placement(tmp_path, cpus=1)).rows) == 1
    whole = run_sweep(replace(sweep, stopping="none"), Placement(tmp_path, cpus=1))
    assert (len(whole.rows), whole.stopped) == (4, {})
    assert all(rows(result.path)[-1][0] == 40 for result in whole.results)


def test_one_that_diverges_fails_once_and_the_others_are_measured(always, tmp_path, session):
    sweep = Sweep(name="rates", study=TINY, space={"learning_rate": [1e12, 1e-3, 2e-3, 3e-3]}, metric="nll")
    swept = run_sweep(sweep, Placement(tmp_path))
    assert sorted(result.status for result in swept.results) == ["FAILED"] + ["FINISHED"] * 3
    (failed,) = (result for result in swept.results if result.status == "FAILED")
    assert "learning_rate (got 1e+12)" in failed.message
    assert newest_epoch(failed.path / "lease") == 1


def test_when_the_time_is_over_members_keep_what_they_have(always, tmp_path, session):
    long = replace(TINY, steps=10**6, validate_every=10**6, log_every=100)
    space = {"learning_rate": [1e-3, 2e-3, 3e-3, 4e-3]}
    sweep = Sweep(name="long", study=long, space=space, metric="nll", minutes=0.15)
    swept = run_sweep(sweep, Placement(tmp_path, cpus=1))
    assert (swept.rows, {result.status for result in swept.results}) == ([], {"KILLED"})
    assert read_sweep(tmp_path / "long").status == "KILLED"
    for result in swept.results:
        assert rows(result.path)[-1][0] == int(checkpoints(result.path / "checkpoints")[-1].name[5:]) // 100 * 100


def test_a_study_that_cannot_be_timed_trains_alone(capsys):
    class Sure(PointDiffusion):
        """Says that it packs, and looks at values."""

        packs = True

        def loss(self, model, batch, draws):
            found = super().loss(model, batch, draws)
            if sum(found.terms.values()) < 0:
                raise ValueError
            return found

    assert probe_packs(Sure.preset("tiny"), 32, 32 * 10**6).size == 1
    assert "cannot be timed as a pack (RuntimeError), and trains alone" in capsys.readouterr().err
    assert probe_packs(PointDiffusion.preset("tiny", learning_rate=1e30), 32, 32 * 10**6).size > 1
