"""MLflow shows what the run directories hold; mirroring twice changes nothing, into an empty MLflow rebuilds all."""

import shutil
from dataclasses import replace

import pytest

from cluster.journal import read_rows
from cluster.mirror import tracking_uri
from cluster.run import Run
from genlib import PointDiffusion, TinyGPT

pytestmark = pytest.mark.filterwarnings("ignore")
STUDY = PointDiffusion.preset("tiny", steps=40)


@pytest.fixture
def run(tmp_path):
    run = Run(STUDY, tmp_path)
    run.execute(looks=[STUDY, replace(STUDY, sampling_steps=3)], figures=False)
    return run


def mirrored(storage):
    from cluster.mirror.bring import Mirror

    mirror = Mirror(storage)
    mirror.bring_everything()
    return mirror


def everything(storage):
    """All that MLflow shows, but for its own identifiers."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(storage))
    experiment = client.get_experiment_by_name("point-diffusion").experiment_id
    shown = {}
    for run in client.search_runs([experiment]):
        history = {
            name: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        files = sorted(artifact.path for artifact in client.list_artifacts(run.info.run_id))
        models = len(run.outputs.model_outputs) if run.outputs else 0
        data = sorted(entry.dataset.digest for entry in run.inputs.dataset_inputs)
        kept = (run.info.status, run.data.params, history, files, models, data)
        shown[run.data.tags["genlib.run"]] = kept
    return shown


def test_a_run_is_mirrored_whole(run):
    mirrored(run.storage)
    shown = everything(run.storage)
    assert len(shown) == 2  # the run, and its second evaluation as a child
    status, params, history, files, models, data = next(v for k, v in shown.items() if k.endswith(run.key))
    assert status == "FINISHED"
    assert params["width"] == "16"
    assert history["loss"] == [
        (row["step"], row["metrics"]["loss"], int(row["time"] * 1000)) for row in read_rows(run.path / "journal")
    ]
    assert history["nll"][0][1] == run.result().metrics["nll"]
    assert {"samples.npz", "study.json"} <= set(files)
    assert models == 1
    assert len(data) == 2


def test_a_runs_texts_are_a_table(tmp_path):
    from mlflow import MlflowClient

    run = Run(TinyGPT.preset("tiny"), tmp_path)
    run.execute(figures=False)
    mirrored(run.storage)
    client = MlflowClient(tracking_uri=tracking_uri(run.storage))
    experiment = client.get_experiment_by_name("tiny-gpt").experiment_id
    (shown,) = client.search_runs([experiment])
    found = client.load_table(experiment, "samples.table.json", run_ids=[shown.info.run_id])
    assert list(found.columns)[:2] == ["sample", "text"]
    assert len(found) == run.study.samples
    assert '"samples.table.json"' in shown.data.tags["mlflow.loggedArtifacts"]


def test_the_model_can_be_loaded_and_used(run):
    import mlflow
    import torch

    from cluster.directory import open_run

    mirror = mirrored(run.storage)
    (entry,) = mirror.cursor.runs.values()
    (output,) = mirror.store.client.get_run(entry.run).outputs.model_outputs
    mlflow.set_tracking_uri(tracking_uri(run.storage))
    loaded = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    x, sigma = torch.randn(7, 2), torch.rand(7) + 0.1
    torch.testing.assert_close(loaded(x, sigma), open_run(run.path).model(x, sigma))


def test_mirroring_twice_changes_nothing_even_without_the_cursor(run):
    mirror = mirrored(run.storage)
    before = everything(run.storage)
    assert mirror.bring_everything() is False
    mirror.cursor.path.unlink()
    mirrored(run.storage)
    assert everything(run.storage) == before


def test_an_empty_mlflow_is_rebuilt(run, monkeypatch):
    mirrored(run.storage)
    before = everything(run.storage)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{run.storage}/another.db")
    mirrored(run.storage)
    assert everything(run.storage) == before


def test_of_two_runs_with_one_key_the_earliest_stays(run):
    mirror = mirrored(run.storage)
    (entry,) = mirror.cursor.runs.values()
    key = f"{mirror.runs.mark}/point-diffusion/{run.key}"
    mirror.store.client.create_run(mirror.store.experiment("point-diffusion"), tags={"genlib.run": key})
    assert mirror.store.find("point-diffusion", key) == entry.run
    assert len(everything(run.storage)) == 2


def test_a_run_that_died_is_settled_and_comes_back(tmp_path):
    run = Run(STUDY, tmp_path)

    def die(progress):
        if progress.step == 20:
            raise SystemExit

    with pytest.raises(SystemExit):
        run.train(listener=die)
    (run.path / "result.json").unlink()  # as after SIGKILL
    mirrored(tmp_path)
    assert [kept[0] for kept in everything(tmp_path).values()] == ["KILLED"]
    run.execute(figures=False)
    mirrored(tmp_path)
    ((status, _, history, *_),) = everything(tmp_path).values()
    assert status == "FINISHED"
    assert [step for step, *_ in history["loss"]] == [10, 20, 30, 40]


def test_what_is_no_longer_so_is_no_longer_said(run):
    mirror = mirrored(run.storage)
    (entry,) = mirror.cursor.runs.values()
    mirror.store.tags(entry.run, {"genlib.message": "stopped", "genlib.key": run.key})
    mirror.store.tags(entry.run, {"genlib.message": None, "genlib.key": run.key})
    assert "genlib.message" not in mirror.store.client.get_run(entry.run).data.tags


def test_one_folder_in_trouble_stops_no_other(tmp_path, monkeypatch):
    runs = [Run(replace(STUDY, seed=seed), tmp_path) for seed in (0, 1)]
    for run in runs:
        run.execute(figures=False)
    from cluster.mirror.runs import RunMirror

    first = sorted(run.path for run in runs)[0]
    bring = RunMirror.bring
    monkeypatch.setattr(RunMirror, "bring", lambda self, path: 1 / 0 if path == first else bring(self, path))
    mirror = mirrored(tmp_path)
    assert mirror.error.startswith("ZeroDivisionError")
    assert len(everything(tmp_path)) == 1


def test_deleted_and_renewed_runs_leave_mlflow(run):
    from cluster.run import start_anew

    mirrored(run.storage)
    start_anew(run)
    run.execute(figures=False)
    mirrored(run.storage)
    assert sorted(kept[0] for kept in everything(run.storage).values()) == ["FINISHED"] * 3  # old, its child, new
    shutil.rmtree(run.path)
    mirrored(run.storage)
    assert not any(key.endswith(run.key) for key in everything(run.storage))


def test_a_model_that_one_mirror_could_not_export_another_one_does(run, monkeypatch):
    from cluster.mirror import bring, runs

    with monkeypatch.context() as then:
        then.setattr(runs, "show_model", lambda *_: "which is none of genlib's")
        first = mirrored(run.storage)
    (entry,) = first.cursor.runs.values()
    assert first.store.client.get_run(entry.run).data.tags["genlib.model"] == "which is none of genlib's"
    monkeypatch.setattr(bring, "adopted", lambda: {"Mine": object})
    second = mirrored(run.storage)
    assert second.store.client.get_run(entry.run).data.tags["genlib.model"] == "exported"
    assert second.bring_everything() is False
