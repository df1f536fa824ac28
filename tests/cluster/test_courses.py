"""A longer run takes the states of a shorter one, bit for bit, or computes them itself; killed whenever it likes."""

import random
from dataclasses import dataclass, replace

import pytest
from support.variants import every_tiny

from cluster.courses import COURSES, passed_by, saved_updates
from cluster.files import read_json, write_json
from cluster.journal import read_rows, read_segments
from cluster.opening import open_run
from cluster.run import Run
from genlib import PointDiffusion, Study, VICReg, start, train
from genlib.checkpoint import TENSORS, checkpoints
from genlib.study import setting

SHORT = PointDiffusion.preset("tiny", steps=20)
LONG = replace(SHORT, steps=40)


class Killed(Exception):
    """Stands in for a crash."""


def done(study, storage, **options):
    run = Run(study, storage, **options)
    run.execute(evaluation=False, figures=False)
    return run


def rows(run):
    return [(row["step"], row["metrics"]) for row in read_rows(run.path / "journal")]


def taken(run):
    """The updates that a run took from another one."""
    segments = read_segments(run.path / "journal")
    return max([row["step"] for segment in segments if "copied" in segment.head for row in segment.rows], default=0)


def weights(run):
    return {name: tensor.tolist() for name, tensor in open_run(run.path).model.state_dict().items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return done(LONG, tmp_path_factory.mktemp("alone"))


STEADY = {name: study for name, study in every_tiny().items() if replace(study, log_every=1).course()}


@pytest.mark.parametrize("name", STEADY)
def test_a_longer_run_goes_through_the_very_states_of_a_shorter_one(name, tmp_path):
    study = replace(STEADY[name], log_every=2, validate_every=2, steps=4)
    states = []
    for length in (4, 6):
        state = start(one := replace(study, steps=length))
        for progress in train(one, state, until=4):
            assert progress.step <= 4
        states.append(state.capture())
    short, long = states
    for part in ("model", "average"):
        for tensor, value in (short[part] or {}).items():
            assert value.equal(long[part][tensor]), tensor
    for index, moments in short["optimizer"]["state"].items():
        assert all(value.equal(long["optimizer"]["state"][index][key]) for key, value in moments.items())


def test_most_studies_are_steady_and_a_schedule_ends_that():
    assert {study.title() for study in STEADY.values()} == {study.title() for study in every_tiny().values()} - {
        "digit-judge"  # whose learning rate falls
    }
    assert replace(SHORT, learning_rate_schedule="cosine").course() is None
    assert SHORT.course() == LONG.course() != replace(SHORT, seed=1).course()


def test_a_class_that_changes_an_update_says_again_that_it_is_steady():
    @dataclass(frozen=True, kw_only=True)
    class Paced(PointDiffusion):
        def loss(self, model, batch, draws):
            return super().loss(model, batch, draws)

    @dataclass(frozen=True, kw_only=True)
    class Renamed(PointDiffusion):
        extra: int = setting(1)
        """A field."""

    assert not Paced.steady
    assert Renamed.steady
    assert not Study.steady


def test_a_longer_run_takes_what_a_shorter_one_computed(tmp_path, alone):
    short = done(SHORT, tmp_path)
    long = done(LONG, tmp_path)
    assert taken(long) == 20
    assert rows(long) == rows(alone)
    assert weights(long) == weights(alone)
    assert rows(short) == rows(long)[: len(rows(short))]
    assert any("bit for bit" in note for note in long.notes)


def test_a_run_in_another_folder_of_the_storage_is_found_too_even_whole(tmp_path, alone):
    done(LONG, tmp_path, sweep="first")
    again = done(LONG, tmp_path, sweep="second")
    assert taken(again) == 40
    assert rows(again) == rows(alone)
    assert weights(again) == weights(alone)


def test_an_end_beside_the_cadence_is_no_state_of_a_longer_run(tmp_path, alone):
    # At its end a run reports and validates: the longer one goes on counting.
    done(replace(SHORT, steps=27), tmp_path)
    long = done(LONG, tmp_path)
    assert taken(long) == 20
    assert rows(long) == rows(alone)


def test_a_shorter_run_takes_no_more_than_its_own_updates(tmp_path):
    done(LONG, tmp_path)
    short = done(SHORT, tmp_path)
    assert taken(short) <= 20
    assert rows(short) == rows(done(SHORT, tmp_path / "alone"))


@pytest.mark.parametrize("change", ["source", "packages", "device", "checkpoint", "journal"])
def test_what_might_have_other_bits_is_computed_anew(change, tmp_path, alone):
    short = done(SHORT, tmp_path)
    described = read_json(short.path / "study.json")
    if change in ("source", "packages"):
        write_json(short.path / "study.json", {**described, change: "another"})
    elif change == "checkpoint":
        for folder in checkpoints(short.path / "checkpoints"):
            (folder / TENSORS).write_bytes(b"damaged")
    else:
        for path in (short.path / "journal").glob("*.jsonl"):
            text = path.read_text()
            path.write_text(text.replace('"cpu"', '"cuda"') if change == "device" else text.replace('"step"', '"stop"'))
    long = done(LONG, tmp_path)
    assert taken(long) == 0
    assert rows(long) == rows(alone)


def test_a_run_of_an_origin_is_not_of_the_course(tmp_path):
    from cluster.states import Origin

    first = done(replace(SHORT, seed=5), tmp_path)
    step = int(checkpoints(first.path / "checkpoints")[-1].name.removeprefix("step-"))
    done(replace(SHORT, steps=30), tmp_path, origin=Origin(first.path, first.key, step))
    assert not list((tmp_path / COURSES / (SHORT.course() or "")).glob("*"))


@pytest.mark.parametrize("moment", ["rows", "state", *range(3)])
def test_killed_while_it_takes_or_after(moment, tmp_path, alone, monkeypatch):
    import cluster.states as states

    done(SHORT, tmp_path)
    if isinstance(moment, int):
        at = random.Random(moment).randrange(21, 40)

        def listener(progress):
            if progress.step >= at:
                raise Killed

        with pytest.raises(Killed):
            Run(LONG, tmp_path).execute(None, listener, evaluation=False, figures=False)
    else:
        name = {"rows": "copy_rows", "state": "save_checkpoint"}[moment]
        original = getattr(states, name)

        def killed(*args, **kwargs):
            if moment == "rows":
                original(*args, **kwargs)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(states, name, killed)
            with pytest.raises(Killed):
                Run(LONG, tmp_path).execute(evaluation=False, figures=False)
    long = done(LONG, tmp_path)
    assert rows(long) == rows(alone)
    assert weights(long) == weights(alone)


def test_who_was_killed_before_the_state_came_goes_on_from_one_that_the_journal_reaches(tmp_path, alone, monkeypatch):
    import cluster.states as states

    done(SHORT, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(states, "save_checkpoint", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            Run(LONG, tmp_path).execute(evaluation=False, figures=False)
    done(replace(SHORT, steps=30), tmp_path)  # meanwhile another run has got further than the rows that were taken
    long = done(LONG, tmp_path)
    assert taken(long) == 20
    assert rows(long) == rows(alone)


def test_what_passes_through_what():
    five, twenty, other = (VICReg.preset("tiny", steps=n) for n in (5, 20, 40))
    cosine = replace(five, learning_rate_schedule="cosine")
    studies = [twenty, five, other, cosine, replace(five, seed=3)]
    assert passed_by(twenty, studies) == [five]
    assert passed_by(other, studies) == [five, twenty]
    assert passed_by(cosine, studies) == []
    assert saved_updates([twenty, five, other, cosine]) == {twenty: 5, other: 20}
