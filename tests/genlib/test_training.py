"""The loop: exact resume, the same bits with any cadence of stops, clear words when a loss is lost."""

import json
import random
import subprocess
import sys

import pytest
import torch
from support.variants import every_tiny

from genlib import (
    Diverged,
    History,
    InputError,
    Launch,
    PointDiffusion,
    fit,
    load_checkpoint,
    save_checkpoint,
    start,
    train,
)
from genlib.study import Loss


def uninterrupted(study):
    state, history = start(study), History()
    for progress in train(study, state):
        history.append(progress.step, progress.metrics)
    return state, history


def assert_same(a, b):
    assert a.step == b.step
    one, other = a.capture(), b.capture()
    for part in ("model", "average"):
        if one[part] is None:
            assert other[part] is None
            continue
        for name in one[part]:
            assert torch.equal(one[part][name], other[part][name]), name
    for index, moments in one["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, other["optimizer"]["state"][index][name]), name


def test_stopped_anywhere_and_continued_is_bit_for_bit_the_same(tiny, tmp_path):
    whole, expected = uninterrupted(tiny)
    stops = sorted(random.Random(tiny.title()).sample(range(1, tiny.steps), 4))
    state, history = start(tiny), History()
    for stop in [*stops, tiny.steps]:
        for progress in train(tiny, state, until=stop):
            if progress.metrics:
                history.append(progress.step, progress.metrics)
        assert state.step == stop
        saved = save_checkpoint(tmp_path, tiny, state)
        torch.manual_seed(stop)  # whatever the caller does to its own generators
        state = load_checkpoint(saved, tiny)
    assert_same(state, whole)
    assert history.rows == expected.rows


def test_training_learns(tiny):
    from dataclasses import replace

    if "width" in tiny.fields() and tiny.title() != "image-diffusion":
        tiny = replace(tiny, width=32)
    players = tiny.title() == "colour-transfer"  # whose losses need not fall; coming back unchanged both of them learn
    steps = 60 if tiny.title() in ("colour-transfer", "image-diffusion", "vicreg") else 300
    _, history = uninterrupted(replace(tiny, steps=steps, validate_every=steps, learning_rate=3e-3))
    _, losses = history.series("loss/cycle" if players else "loss")
    assert losses[-5:].mean() < losses[0]


def test_history_has_losses_at_the_cadence_and_validation_at_its_own(tiny):
    _, history = uninterrupted(tiny)
    assert history.series("loss")[0].tolist() == list(range(tiny.log_every, tiny.steps + 1, tiny.log_every))
    assert tiny.objective[0] in history.names()


def test_gradients_reach_every_parameter(tiny):
    model = tiny.model()
    draws = tiny.draws("train")
    loss = tiny.loss(model, tiny.batch(tiny.data().train, draws), draws)
    sum(loss.terms.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_model_follows_from_the_seed_alone(tiny):
    torch.manual_seed(5)
    first = tiny.model().state_dict()
    torch.manual_seed(6)
    second = tiny.model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_ema_is_what_is_evaluated():
    study = PointDiffusion.preset("tiny", ema_decay=0.9)
    state, _ = uninterrupted(study)
    live, average = state.model.state_dict(), state.finished().state_dict()
    assert any(not torch.equal(live[name], average[name]) for name in live)


def test_warmup_and_cosine():
    study = PointDiffusion.preset("tiny", learning_rate_schedule="cosine", warmup_steps=4)
    factors = [study.learning_rate_factor(step) for step in range(study.steps)]
    assert factors[0] == pytest.approx(0.25)
    assert max(factors) > 0.8
    assert factors[-1] < 0.02


def test_several_terms_and_diagnostics_are_reported_by_name():
    class Split(PointDiffusion):
        def loss(self, model, batch, draws):
            (term,) = super().loss(model, batch, draws).terms.values()
            return Loss({"first": 0.25 * term, "second": 0.75 * term}, {"norm": term.sqrt()})

    split, whole = Split.preset("tiny"), PointDiffusion.preset("tiny")
    metrics = [progress.metrics for progress in train(split)][-1]
    expected = [progress.metrics for progress in train(whole)][-1]
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert metrics["loss/first"] * 3 == pytest.approx(metrics["loss/second"])
    assert metrics["norm"] > 0


class Breaks(PointDiffusion):
    """A study whose loss is lost at update 17."""

    def loss(self, model, batch, draws):
        terms = super().loss(model, batch, draws).terms
        factor = float("nan") if draws.stream == "train" and draws.step == 16 else 1.0
        return Loss({name: term * factor for name, term in terms.items()})


def test_a_lost_loss_stops_with_step_and_remedy_and_the_last_good_state():
    study = Breaks.preset("tiny", learning_rate=0.5)
    with pytest.raises(Diverged) as stopped:
        list(train(study))
    message = str(stopped.value)
    assert "the loss became nan at step 17" in message
    assert "learning_rate (got 0.5)" in message
    assert "clip_norm" in message
    state = stopped.value.state
    assert state.step == 10  # the last validation before it
    assert all(tensor.isfinite().all() for tensor in state.model.state_dict().values())
    reference = start(study)
    list(train(study, reference, until=10))
    assert_same(state, reference)


def test_nothing_lost_is_ever_yielded():
    study = Breaks.preset("tiny")
    with pytest.raises(Diverged, match="at step 17"):
        list(train(study, until=18))
    blown = PointDiffusion.preset("tiny", fourier_features=8, fourier_scale=1e38)
    with pytest.raises(Diverged, match="at step 1; most likely at fault is a field that scales"):
        list(train(blown))


def test_a_divergence_travels_between_processes():
    import pickle

    with pytest.raises(Diverged) as stopped:
        list(train(Breaks.preset("tiny")))
    again = pickle.loads(pickle.dumps(stopped.value))
    assert str(again) == str(stopped.value)
    assert isinstance(again, Diverged)


def test_functional_dropout_resumes_too_and_leaves_the_callers_generator():
    class Drops(PointDiffusion):
        def loss(self, model, batch, draws):
            x = torch.nn.functional.dropout(batch["x"], 0.3)
            return super().loss(model, batch | {"x": x}, draws)

    study = Drops.preset("tiny")
    torch.manual_seed(1)
    whole, _ = uninterrupted(study)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(2)
    state = start(study)
    list(train(study, state, until=7))
    list(train(study, state))
    assert_same(state, whole)


def test_the_learning_rate_does_not_decay_twice_over_a_resume(tmp_path):
    study = PointDiffusion.preset("tiny", learning_rate_schedule="cosine")
    state = start(study)
    list(train(study, state, until=10))
    state = load_checkpoint(save_checkpoint(tmp_path, study, state), study)
    list(train(study, state, until=11))
    expected = study.learning_rate * study.learning_rate_factor(10)
    assert state.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_real_divergence_is_caught():
    study = PointDiffusion.preset("tiny", learning_rate=1e30, steps=100)
    with pytest.raises(Diverged, match="learning_rate"):
        list(train(study))


def test_impossible_launches_are_refused():
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch sees no GPU here; use 'cpu'"):
            Launch(device="cuda")
    with pytest.raises(InputError, match="none that torch knows: use 'cpu' or 'cuda'"):
        Launch(device="gpu")
    with pytest.raises(InputError, match=r"precision: got 'float16'.*float32, bfloat16"):
        Launch(precision="float16")
    with pytest.raises(InputError, match="bfloat16 needs a GPU"):
        Launch(precision="bfloat16")


@pytest.mark.gpu
def test_bfloat16_stays_near_float32():
    study = PointDiffusion.preset("tiny")
    launches = (Launch(device="cuda"), Launch(device="cuda", precision="bfloat16"))
    losses = [[p.metrics["loss"] for p in train(study, launch=launch)] for launch in launches]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


TWO_WORKERS = """
import json, sys, torch
import torch.distributed as dist
from genlib import STUDIES, Launch, train
rank, store, studies = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
kinds = {kind.title(): kind for kind in STUDIES}
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
for name, (title, fields) in studies.items():
    losses = [(p.step, p.metrics["loss"]) for p in train(kinds[title](**fields), launch=Launch(rank=rank, world=2))]
    if rank == 0:
        print(json.dumps([name, losses]))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The losses of every study's two workers; one pair of processes trains them all."""
    studies = {name: (study.title(), study.fields()) for name, study in every_tiny().items()}
    store = str(tmp_path_factory.mktemp("group") / "store")
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", TWO_WORKERS, str(rank), store, json.dumps(studies)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    printed, _ = [worker.communicate(timeout=500)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    return dict(json.loads(line) for line in printed.splitlines())


def test_two_workers_compute_what_one_does(tiny, together, request):
    alone = [(p.step, p.metrics["loss"]) for p in train(tiny)]
    found = together[request.node.callspec.params["tiny"]]
    assert [step for step, _ in found] == [step for step, _ in alone]
    losses, expected = ([loss for _, loss in one] for one in (found, alone))
    assert losses[0] == pytest.approx(expected[0], rel=1e-4)
    # Norms over small batches and Adam together make float error grow tenfold in a few updates.
    assert losses == pytest.approx(expected, rel=3e-2 if tiny.title() == "vicreg" else 1e-4)


COMPILED = """
from genlib import Launch, PointDiffusion, train
for launch in (Launch(), Launch(compile=True)):
    print(*[p.metrics["loss"] for p in train(PointDiffusion.preset("tiny"), launch=launch)])
"""


@pytest.mark.slow
def test_compiled_is_near_eager():
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]  # apart from the shape checks, which cannot be compiled
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    eager, compiled = ([float(loss) for loss in line.split()] for line in done.stdout.splitlines())
    assert compiled == pytest.approx(eager, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_trains_every_study(kind, precision):
    pool = {"pool": 12} if kind.title() == "colour-transfer" else {}
    run = fit(kind.preset("tiny", **pool), Launch(device="cuda", precision=precision))
    losses = run.history.series("loss")[1]
    assert ((losses > 0) & (losses < 1e4)).all()
    assert run.evaluation.metrics
    assert run.figures
