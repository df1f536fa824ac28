"""A pack trains what its members would train alone, to float error; who leaves does not disturb the others."""

import io
import math
from dataclasses import replace
from itertools import count

import pytest
import torch
from support.variants import every_tiny

from genlib import (
    ContinuousVAE,
    Diverged,
    InputError,
    Launch,
    PointDiffusion,
    SpiralDiffusion,
    TinyGPT,
    load_checkpoint,
    save_checkpoint,
    start,
    train,
)
from genlib.adam import Adam
from genlib.packs import fit_together, train_pack
from genlib.study import Loss

TINY = SpiralDiffusion.preset("tiny")
PACKING = {name: study for name, study in every_tiny().items() if study.can_pack()}


def alone(study, state=None):
    return [(progress.step, dict(progress.metrics)) for progress in train(study, state)]


def together(studies, states=None, **how):
    """What every member reports, and those that were lost."""
    found = {k: [] for k in range(len(studies))}
    lost = {}
    for reports in train_pack(studies, states, **how):
        for k, report in reports.items():
            if isinstance(report, Diverged):
                lost[k] = report
            else:
                found[k].append((report.step, dict(report.metrics)))
    return found, lost


def assert_near(one, other, within=1e-5):
    assert [step for step, _ in one] == [step for step, _ in other]
    for (step, ours), (_, theirs) in zip(one, other, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], rel=within, abs=within), (step, name)


@pytest.mark.parametrize("name", PACKING)
def test_members_train_as_they_would_alone(name):
    tiny = PACKING[name]
    studies = [
        tiny,
        replace(tiny, seed=1, learning_rate=tiny.learning_rate / 2, weight_decay=0.1),
        replace(tiny, seed=1, clip_norm=0.3, learning_rate_schedule="cosine"),
        replace(tiny, seed=2, steps=15, warmup_steps=4, log_every=3),
    ]
    found, lost = together(studies)
    assert not lost
    for k, study in enumerate(studies):
        assert_near(found[k], alone(study))


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKING)
def test_members_stay_near_for_200_updates(name):
    tiny = replace(PACKING[name], steps=200, log_every=50, validate_every=200)
    studies = [tiny, replace(tiny, seed=1, learning_rate=tiny.learning_rate / 2), replace(tiny, seed=2)]
    found, _ = together(studies)
    within = 1e-4 if "spline" in name else 1e-5  # a point on the edge of a bin falls to either side
    for k, study in enumerate(studies):
        ours, theirs = ([(step, {"loss": row["loss"]}) for step, row in rows] for rows in (found[k], alone(study)))
        assert_near(ours, theirs, within)


def test_every_kind_of_study_with_points_or_text_packs():
    kinds = {study.title() for study in PACKING.values()}
    assert kinds == {
        "point-diffusion", "spiral-diffusion", "coupling-flow", "flow-matching", "continuous-vae", "discrete-vae",
        "joint-vae", "tiny-gpt",
    }  # fmt: skip


def test_averages_differ_and_are_what_is_looked_at():
    studies = [PointDiffusion.preset("tiny", ema_decay=decay) for decay in (0.5, 0.9)]
    states = [start(study) for study in studies]
    together(studies, states)
    for study, state in zip(studies, states, strict=True):
        own = start(study)
        for _ in train(study, own):
            pass
        for ours, theirs in zip(state.finished().parameters(), own.finished().parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_numbers_of_the_loss_are_carried():
    studies = [ContinuousVAE.preset("tiny", beta=beta) for beta in (0.5, 1.0, 4.0)]
    found, _ = together(studies)
    for k, study in enumerate(studies):
        assert_near(found[k], alone(study))


def test_a_member_goes_on_alone_and_a_lone_run_in_a_pack(tmp_path):
    studies = [TINY, replace(TINY, seed=1)]
    expected = [alone(study) for study in studies]
    states = [start(study) for study in studies]
    for reports in train_pack(studies, states):
        if 10 in {report.step for report in reports.values()}:
            break
    saved = [save_checkpoint(tmp_path / str(k), studies[k], states[k]) for k in range(2)]
    assert_near(alone(TINY, load_checkpoint(saved[0], TINY)), [row for row in expected[0] if row[0] > 10])
    lone = start(replace(TINY, seed=1))
    for progress in train(replace(TINY, seed=1), lone, until=5):
        assert progress.step == 5
    found, _ = together(studies, [load_checkpoint(saved[0], TINY), lone])  # from 10, and from 5
    assert_near(found[0], [row for row in expected[0] if row[0] > 10])
    assert_near(found[1], [row for row in expected[1] if row[0] > 5])


def test_a_member_that_diverges_leaves_with_its_own_words_and_the_others_do_not_notice():
    studies = [TINY, replace(TINY, learning_rate=1e12, seed=3), replace(TINY, seed=1)]
    states = [start(study) for study in studies]
    found, lost = together(studies, states)
    assert set(lost) == {1}
    with pytest.raises(Diverged) as own:
        alone(studies[1])
    assert str(lost[1]) == str(own.value)
    assert lost[1].state is states[1]
    assert f"The state of step {states[1].step}" in str(lost[1])
    assert all(torch.isfinite(parameter).all() for parameter in states[1].model.parameters())
    for k in (0, 2):
        assert_near(found[k], alone(studies[k]))


def test_a_member_is_stopped_and_the_others_go_on():
    studies = [TINY, replace(TINY, seed=1), replace(TINY, seed=2)]
    states = [start(study) for study in studies]
    asked = count(1)
    found, _ = together(studies, states, stop=lambda member: member == 1 and next(asked) == 6)
    assert found[1][-1][0] == 6
    assert states[1].step == 6
    for k in (0, 2):
        assert_near(found[k], alone(studies[k]))
    rest = alone(studies[1], states[1])
    assert_near(rest, [row for row in alone(studies[1]) if row[0] > 6])


def test_a_loss_that_draws_otherwise_gets_another_tape():
    class Moody(SpiralDiffusion):
        packs = True

        def loss(self, model, batch, draws):
            found = super().loss(model, batch, draws)
            if draws.step % 3 == 2:
                more = draws.fork("more").normal(len(batch["x"]), 2).square().mean()
                return Loss({name: term * more for name, term in found.terms.items()})
            return found

    studies = [Moody.preset("tiny"), Moody.preset("tiny", seed=1)]
    found, _ = together(studies)
    for k, study in enumerate(studies):
        assert_near(found[k], alone(study))


def test_a_member_saves_no_more_than_alone():
    studies = [replace(TINY, seed=seed) for seed in range(20)]
    states = [start(study) for study in studies]
    together(studies, states)
    lone = start(TINY)
    for _ in train(TINY, lone):
        pass
    saved = [io.BytesIO() for _ in range(2)]
    for file, state in zip(saved, (states[0], lone), strict=True):
        torch.save(state.capture(), file)
    assert len(saved[0].getvalue()) < 1.1 * len(saved[1].getvalue())


def test_a_layer_that_is_not_trained_is_each_members_own():
    class Frozen(SpiralDiffusion):
        packs = True

        def model(self):
            model = super().model()
            next(model.parameters()).requires_grad_(False)
            return model

        def optimizer(self, model):
            return Adam([weight for weight in model.parameters() if weight.requires_grad], lr=self.learning_rate)

    studies = [Frozen.preset("tiny", seed=seed) for seed in range(3)]
    found, _ = together(studies)
    for k, study in enumerate(studies):
        assert_near(found[k], alone(study))


def test_a_loss_that_reads_what_members_differ_in_is_refused():
    class Reading(SpiralDiffusion):
        packs = True

        def loss(self, model, batch, draws):
            found = super().loss(model, batch, draws)
            return Loss({name: term * self.steps for name, term in found.terms.items()})

    alike = [Reading.preset("tiny", seed=seed) for seed in range(2)]
    found, _ = together(alike)
    assert_near(found[1], alone(alike[1]))
    with pytest.raises((TypeError, InputError)):
        together([alike[0], replace(alike[1], steps=30)])


def test_a_text_model_of_anothers_says_for_itself_that_it_packs():
    class Mine(TinyGPT):
        def loss(self, model, batch, draws):
            return super().loss(model, batch, draws)

    assert TinyGPT.preset("tiny", dropout=0.0).can_pack()
    assert not Mine.preset("tiny", dropout=0.0).can_pack()


def test_what_is_compiled_trains_alone():
    with pytest.raises(InputError, match="float32"):
        next(train_pack([TINY], launch=replace(Launch(), compile=True)))


@pytest.mark.parametrize(
    "studies",
    [
        [TINY, replace(TINY, width=TINY.width * 2)],
        [TINY, replace(TINY, ema_decay=0.9)],
        [TINY, PointDiffusion.preset("tiny")],
        [every_tiny()["vicreg"]] * 2,
    ],
)
def test_what_does_not_fit_together_is_told(studies):
    assert not fit_together(studies)
    with pytest.raises(InputError, match="train alone"):
        next(train_pack(studies))


def test_looking_otherwise_does_not_part_them():
    assert fit_together([PointDiffusion(samples=100), PointDiffusion(samples=200, seed=4)])
    assert math.isfinite(together([TINY, replace(TINY, samples=60)])[0][1][-1][1]["loss"])
