"""MLflow shows what the run directories hold; mirroring twice changes nothing."""

import pytest

from cluster.journal import read_rows
from cluster.mirror import Mirror, tracking_uri
from cluster.run import Run
from genlib import PointDiffusion

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(PointDiffusion.preset("tiny"), tmp_path_factory.mktemp("runs"))
    run.finish(run.train(), figures=False)
    return run


def test_a_run_is_mirrored_once_and_whole(run, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mirror = Mirror(run.storage, "point-diffusion")
    parent = mirror.parent("a sweep", "what it is")
    first = mirror.show(run.path, parent=parent)
    assert mirror.show(run.path, parent=parent) == first
    assert mirror.parent("a sweep", "what it is") == parent
    client = MlflowClient(tracking_uri=tracking_uri(run.storage))
    experiment = client.get_experiment_by_name("point-diffusion").experiment_id
    assert len(client.search_runs([experiment])) == 2
    shown = client.get_run(first)
    assert shown.info.status == "FINISHED"
    assert shown.data.tags["mlflow.parentRunId"] == parent
    assert shown.data.params["width"] == "16"
    journal = read_rows(run.path / "journal.jsonl")
    history = client.get_metric_history(first, "loss")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (row["step"], row["metrics"]["loss"], int(row["time"] * 1000)) for row in journal
    ]
    assert "samples.npz" in [artifact.path for artifact in client.list_artifacts(first)]
