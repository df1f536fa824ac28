"""MLflow shows what the run directories hold; mirroring twice changes nothing, into an empty MLflow rebuilds all."""

import shutil
from dataclasses import replace

import pytest

from cluster.files import sealed, set_aside, unsealed
from cluster.journal import read_rows
from cluster.mirror import tracking_uri
from cluster.run import Run
from cluster.storage import open_storage
from cluster.sweep_record import Best, SweepRecord, Tried, write_sweep
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

    from cluster.opening import open_run

    mirror = mirrored(run.storage)
    (entry,) = mirror.cursor.runs.values()
    (output,) = mirror.store.client.get_run(entry.run).outputs.model_outputs
    mlflow.set_tracking_uri(tracking_uri(run.storage))
    loaded = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    x, sigma = torch.randn(7, 2), torch.rand(7) + 0.1
    torch.testing.assert_close(loaded(x, sigma), open_run(run.path).model(x, sigma))


def test_the_loaded_model_scores_and_samples(run):
    import mlflow
    import torch
    from pandas import DataFrame

    from cluster.opening import open_run

    mirror = mirrored(run.storage)
    (entry,) = mirror.cursor.runs.values()
    (output,) = mirror.store.client.get_run(entry.run).outputs.model_outputs
    mlflow.set_tracking_uri(tracking_uri(run.storage))
    loaded, trained = mlflow.pyfunc.load_model(f"models:/{output.model_id}"), open_run(run.path)
    points = torch.tensor([[0.1, 0.2], [0.3, -0.4]])
    scores = loaded.predict(DataFrame(points.double().numpy(), columns=["x0", "x1"]))
    assert scores.tolist() == trained.study.score(trained.model, points).tolist()
    drawn = loaded.predict(DataFrame({"count": [5], "seed": [3]}))
    expected = trained.study.sample(trained.model, 5, trained.study.draws("samples of 3"))
    assert drawn["x"].tolist() == expected["x"].tolist()  # what `sample.py --seed 3` draws
    with pytest.raises(Exception, match="takes columns x0, x1 to score, or count"):
        loaded.predict(DataFrame({"seed": [1]}))


def test_a_deleted_runs_model_goes_too(run):
    mirror = mirrored(run.storage)
    (entry,) = mirror.cursor.runs.values()
    (output,) = mirror.store.client.get_run(entry.run).outputs.model_outputs
    shutil.rmtree(run.path)
    mirror.bring_everything()
    assert mirror.store.client.get_run(entry.run).info.lifecycle_stage == "deleted"
    left = mirror.store.client.search_logged_models([mirror.store.experiment(entry.experiment)])
    assert output.model_id not in {model.model_id for model in left}


def test_final_metrics_are_bars_and_evaluations_carry_all_fields(run):
    for status, params, history, *_ in (mirrored(run.storage) and everything(run.storage)).values():
        assert status == "FINISHED"
        assert [step for step, _, _ in history["nll"]] == [0]
        assert set(params) >= set(STUDY.fields())


def test_the_source_of_a_run_is_the_script(run):
    mirror = mirrored(run.storage)
    for entry in mirror.cursor.runs.values():
        for shown in entry.runs():
            source = mirror.store.client.get_run(shown).data.tags["mlflow.source.name"]
            assert " " not in source
            assert "default_worker" not in source


def test_a_sweeps_run_shows_its_best_its_picture_and_its_table(tmp_path):
    from PIL import Image

    storage = open_storage(tmp_path)
    runs = [Run(replace(STUDY, learning_rate=0.00123456, seed=seed), storage, sweep="rates") for seed in (0, 1)]
    for one in runs:
        one.execute(figures=False)
    command = "python experiments/train.py point-diffusion --learning-rate 0.00123456"
    best = Best(0.25, command, {"learning_rate": 0.00123456})
    write_sweep(
        storage / "rates",
        SweepRecord(
            name="rates", study="point-diffusion", space={"learning_rate": ["loguniform 0.001 to 0.1"]}, metric="nll",
            began=1.0, status="FINISHED", note="| learning_rate | nll |", best=best,
            command="python experiments/mine.py --seeds 0 1",
            settings=[Tried({"learning_rate": 0.00123456}, seed, one.key) for seed, one in enumerate(runs)],
        ),
    )  # fmt: skip
    Image.new("RGB", (4, 4)).save(storage / "rates" / "comparison.png")
    mirror = mirrored(storage)
    parent = mirror.store.client.get_run(mirror.cursor.sweeps["rates"].run)
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Best: learning_rate 0.00123, `nll` 0.25")
    assert command in note
    assert f"![comparison.png](get-artifact?path=comparison.png&run_uuid={parent.info.run_id})" in note
    assert "| learning_rate | nll |" in note
    assert "comparison.png" in {file.path for file in mirror.store.client.list_artifacts(parent.info.run_id)}
    assert parent.data.tags["mlflow.source.name"] == "experiments/mine.py"
    names = {mirror.store.client.get_run(entry.run).info.run_name for entry in mirror.cursor.runs.values()}
    assert names == {"learning_rate 0.00123, seed 0", "learning_rate 0.00123, seed 1"}


def test_mirroring_twice_changes_nothing_even_without_the_cursor(run):
    mirror = mirrored(run.storage)
    before = everything(run.storage)
    assert mirror.bring_everything() is False
    mirror.cursor.path.unlink()
    mirrored(run.storage)
    assert everything(run.storage) == before


def test_a_line_that_was_mended_is_not_shown_twice_without_the_cursor(run):
    mirror = mirrored(run.storage)
    before = everything(run.storage)
    mirror.cursor.path.unlink()
    (path,) = (run.path / "journal").glob("*.jsonl")
    *lines, last = path.read_text().splitlines()
    content = unsealed(last)
    path.write_text("".join(f"{line}\n" for line in [*lines, sealed(content | {"time": content["time"] + 60})]))
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


def test_the_runs_of_a_sweep_that_begins_anew_stay_in_mlflow(tmp_path):
    storage = open_storage(tmp_path)
    one = Run(STUDY, storage, sweep="rates")
    one.execute(figures=False)
    record = SweepRecord(name="rates", study="point-diffusion", space={}, metric="nll", began=1.0, status="FINISHED")
    write_sweep(storage / "rates", record)
    before = everything(mirrored(storage).storage)
    set_aside(storage / "rates", storage / ".aside")
    mirror = mirrored(storage)
    after = everything(storage)
    assert len(after) == len(before) == 2
    assert not any(key.endswith(one.key) for key in after)  # the new run has the key
    assert not mirror.cursor.runs


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
