"""Runs of several studies under one name: one folder, one holder, one parent in MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.files import read_json
from cluster.mirror import tracking_uri
from cluster.run import Run
from cluster.storage import open_storage
from genlib import CouplingFlow, FlowMatching, InputError
from tuning.folder import gathering

pytestmark = pytest.mark.filterwarnings("ignore")
STUDIES = {"a flow": CouplingFlow.preset("tiny"), "matching": FlowMatching.preset("tiny")}


def test_its_runs_are_children_of_one_parent_in_mlflow(tmp_path):
    from mlflow import MlflowClient

    from cluster.mirror.bring import Mirror

    with gathering(tmp_path, "both", STUDIES, metric="nll", note="Two kinds of flow.") as gathered:
        for study in STUDIES.values():
            Run(study, tmp_path, sweep="both").execute(figures=False)
        (gathered.path / "table.md").write_text("| a | b |")
        gathered.write(note="Two kinds of flow, compared.")
    Mirror(tmp_path).bring_everything()
    client = MlflowClient(tracking_uri=tracking_uri(tmp_path))
    (experiment,) = (found for found in client.search_experiments() if found.name == "both")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"both", "a flow", "matching"}
    parent = runs["both"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"] == "Two kinds of flow, compared."
    assert "table.md" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    for name in STUDIES:
        assert runs[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert runs[name].info.status == "FINISHED"


def test_only_one_process_holds_it(tmp_path):
    code = "import sys,time\nfrom pathlib import Path\nfrom cluster.lease import Lease\n"
    code += "lease = Lease.claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    open_storage(tmp_path)
    folder = str(tmp_path / "both" / "lease")
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match="the sweep 'both' is being driven already: process"),
            gathering(tmp_path, "both", STUDIES, metric="nll", note=""),
        ):
            pass
        other.kill()
    assert not (tmp_path / "both" / "sweep.json").exists()


def test_how_it_ends_is_recorded_and_damage_is_mended(tmp_path):
    def fail():
        with gathering(tmp_path, "both", STUDIES, metric="nll", note=""):
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        fail()
    record = tmp_path / "both" / "sweep.json"
    first = read_json(record)
    assert first["status"] == "FAILED"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content)[:-20])
    with gathering(tmp_path, "both", STUDIES, metric="nll", note=""):
        assert read_json(record)["status"] == "RUNNING"
    assert read_json(record)["status"] == "FINISHED"


def test_a_signal_leaves_it_killed(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from cluster.stopping import on_stop
from tuning.folder import gathering
with gathering(Path(sys.argv[1]), "both", {{}}, metric="nll", note="") as gathered, on_stop(gathered.settle):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        other.terminate()
        assert other.wait(timeout=20) == 128 + 15
    assert read_json(tmp_path / "both" / "sweep.json")["status"] == "KILLED"
