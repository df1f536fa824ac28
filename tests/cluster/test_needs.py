"""What a study needs is a run of the same storage: trained first, shared, part of what it makes, shown in MLflow."""

from dataclasses import dataclass, replace

import pytest
import torch

from cluster import Run, execute, open_run, opening, read_result
from cluster.evaluations import evaluation_key
from cluster.files import read_json, write_json
from cluster.mirror import tracking_uri
from cluster.needs import needs_of, train_needs
from genlib import ColourTransfer, ContinuousVAE, PointDiffusion, needed, needs
from genlib.study import Loss

TINY = ColourTransfer.preset("tiny")
TEACHER = PointDiffusion.preset("tiny", steps=10)


@dataclass(frozen=True, kw_only=True)
class Pupil(PointDiffusion):
    """It learns what its teacher says of the noise."""

    def needs(self):
        return {"teacher": TEACHER}

    def loss(self, model, batch, draws):
        sigma = torch.full((len(batch["x"]),), 0.5)
        with torch.no_grad():
            said = needed(self, "teacher")(batch["x"], sigma)
        return Loss({"teacher": (model(batch["x"], sigma) - said).square().mean()})


def small_judge(monkeypatch):
    """A judge that is trained in no time."""
    from genlib import DigitJudge
    from genlib.studies.colour_transfer import study

    monkeypatch.setattr(study, "judge_of", lambda data_set: DigitJudge.preset("tiny", steps=3))


def test_a_teacher_is_trained_first_and_once(tmp_path):
    pupil = Pupil.preset("tiny", steps=4)
    assert needs_of([pupil, replace(pupil, seed=1)]) == [TEACHER]
    for seed in (0, 1):
        execute(Run(replace(pupil, seed=seed), tmp_path))
    teacher = Run(TEACHER, tmp_path)
    assert teacher.result().status == "FINISHED"
    assert len(list((teacher.path / "journal").iterdir())) == 1  # it was trained once
    born = [read_json(run.path / "study.json")["born"] for run in (teacher, Run(pupil, tmp_path))]
    assert born == sorted(born)
    assert read_json(Run(pupil, tmp_path).path / "study.json")["needs"] == {
        "teacher": f"point-diffusion/{TEACHER.key()}"
    }


def test_a_judge_makes_the_evaluation_and_not_the_run(tmp_path, monkeypatch):
    before = TINY.key(), evaluation_key(TINY)
    small_judge(monkeypatch)
    assert TINY.key() == before[0]
    assert evaluation_key(TINY) != before[1]
    run = Run(TINY, tmp_path)
    (metrics,) = execute(run)
    (judge,) = tmp_path.glob("digit-judge/*")
    assert read_result(judge).status == "FINISHED"
    assert read_json(run.evaluation_folder(TINY) / "metrics.json")["needs"] == {"judge": f"digit-judge/{judge.name}"}
    assert metrics["judge_accuracy"] == pytest.approx(read_json(judge / "result.json")["metrics"]["accuracy"], abs=1e-6)
    assert execute(run) == [metrics]


def test_without_an_evaluation_there_is_no_judge(tmp_path):
    execute(Run(TINY, tmp_path), evaluation=False)
    assert not list(tmp_path.glob("digit-judge/*"))
    assert needs_of([ContinuousVAE(), TINY], evaluated=False) == []


@pytest.mark.filterwarnings("ignore")
def test_mlflow_shows_it_as_an_input(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    from cluster.mirror.bring import Mirror

    small_judge(monkeypatch)
    execute(Run(TINY, tmp_path))
    Mirror(tmp_path).bring_everything()
    client = MlflowClient(tracking_uri=tracking_uri(tmp_path))

    def only_run(name):
        (shown,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        return client.get_run(shown.info.run_id)

    judge, carried = only_run("digit-judge"), only_run("colour-transfer")
    assert [model.model_id for model in carried.inputs.model_inputs] == [judge.outputs.model_outputs[0].model_id]
    assert carried.data.tags["genlib.needs.judge"].startswith("digit-judge/")


def test_a_need_that_is_damaged_is_mended(tmp_path):
    train_needs([Pupil.preset("tiny")], tmp_path)
    run = Run(TEACHER, tmp_path)
    for state in (run.path / "checkpoints").glob("*/state.pt"):
        state.write_bytes(b"garbage")
    train_needs([Pupil.preset("tiny")], tmp_path)
    assert run.known((), figures=False) is not None


@dataclass(frozen=True, kw_only=True)
class Apprentice(Pupil):
    """It has a teacher who had one."""

    def needs(self):
        return {"teacher": Pupil.preset("tiny", steps=3)}


def nobody(study):
    raise AssertionError(f"{study.title()} was asked for outside of the storage")


def test_what_is_needed_by_what_is_needed_comes_first_and_all_of_it_is_in_the_storage(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "kept", nobody)
    study = Apprentice.preset("tiny", steps=2)
    assert needs_of([study]) == [TEACHER, Pupil.preset("tiny", steps=3)]
    train_needs([study], tmp_path)
    execute(Run(study, tmp_path))
    assert sorted(path.parent.parent.name for path in tmp_path.glob("*/*/result.json")) == [
        "apprentice", "point-diffusion", "pupil",
    ]  # fmt: skip


def test_who_opens_a_run_measures_with_the_judge_of_its_storage(tmp_path, monkeypatch):
    small_judge(monkeypatch)
    run = Run(TINY, tmp_path)
    (metrics,) = execute(run)
    monkeypatch.setattr(opening, "kept", nobody)
    monkeypatch.setattr(needs, "kept", nobody)
    again = open_run(run.path).evaluation.metrics
    assert again == {name: metrics[name] for name in again}


@pytest.mark.filterwarnings("ignore")
def test_a_need_that_names_itself_or_leaves_the_storage_is_passed_over(tmp_path, monkeypatch):
    from cluster.mirror.bring import Mirror

    run = Run(TEACHER, tmp_path / "runs")
    execute(run)
    for place in (f"point-diffusion/{run.key}", "/etc/passwd", "../elsewhere/0a1b"):
        write_json(run.path / "study.json", read_json(run.path / "study.json") | {"needs": {"teacher": place}})
        mirror = Mirror(tmp_path / "runs")
        mirror.cursor.runs.clear()
        assert mirror.bring_everything()
        assert mirror.error == ""
