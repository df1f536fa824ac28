"""`train.py` as a user runs it, at tiny size: where its run goes, what is refused, how it stops and continues."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.scripts import ROOT, command, run_script

from cluster.directory import read_result
from cluster.journal import last_row
from cluster.mirror import wait_until_shown
from cluster.run import Run
from cluster.storage import run_folders
from genlib import STUDIES, PointDiffusion
from genlib.checkpoint import checkpoints

SOME = {"point-diffusion", "joint-vae"}


@pytest.mark.parametrize(
    "kind",
    [k if k.title() in SOME else pytest.param(k, marks=pytest.mark.slow) for k in STUDIES],
    ids=lambda k: k.title(),
)
def test_train_writes_a_run_and_says_where(tmp_path, kind):
    done = run_script("train", kind.title(), "--preset", "tiny", "--seed", 3, "--storage", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".mirror").exists()
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert run["status"] == "FINISHED"
    assert run["key"] == kind.preset("tiny", seed=3).key()
    assert json.loads((Path(run["path"]) / "result.json").read_text())["metrics"] == run["metrics"]


def test_unless_asked_otherwise_the_run_is_in_mlflow_soon_after_the_script_ends(tmp_path):
    done = run_script(
        "train", "point-diffusion", "--preset", "tiny", "--storage", tmp_path, "--json", MLFLOW_TRACKING_URI=""
    )
    assert done.returncode == 0, done.stderr
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in done.stderr
    from mlflow import MlflowClient

    assert wait_until_shown(tmp_path) is None
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (shown,) = client.search_runs([client.get_experiment_by_name("point-diffusion").experiment_id])
    assert shown.info.status == "FINISHED"
    end_mirror(tmp_path)


def test_what_was_not_mirrored_is_mirrored_later_and_none_is_no_address(tmp_path):
    refused = run_script("mirror", "--storage", tmp_path)
    assert refused.returncode == 2
    Run(PointDiffusion.preset("tiny"), tmp_path).execute(figures=False)
    refused = run_script("mirror", "--storage", tmp_path)
    assert refused.returncode == 2
    assert "MLFLOW_TRACKING_URI is 'none'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["point-difusion"], "unknown study 'point-difusion': the studies are point-diffusion"),
        (["point-diffusion", "--preset", "bset"], "no preset 'bset'"),
        (["point-diffusion", "--widht", "3"], "--width"),
        (["point-diffusion", "--width", "0"], "PointDiffusion.width: got 0"),
        (["point-diffusion", "--classes", "4"], "classes: got 4"),
        (["point-diffusion", "--device", "cuda:7"], "torch sees no GPU here"),
        (["point-diffusion", "--workers", "many"], "--workers: got 'many'"),
        (["point-diffusion", "--from", "nowhere"], "there is no run 'nowhere'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, arguments, said):
    done = run_script("train", *arguments, "--storage", tmp_path / "runs")
    assert done.returncode == 2
    words = " ".join(done.stderr.replace("│", " ").split()) + " ".join(done.stdout.replace("│", " ").split())
    assert said in words
    assert "Traceback" not in words
    assert not (tmp_path / "runs").exists()


def test_without_mlflow_the_run_is_whole_and_says_so(tmp_path, monkeypatch):
    dead = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = run_script("train", "spiral-diffusion", "--preset", "tiny", "--storage", tmp_path / "runs", "--json", **dead)
    assert done.returncode == 0
    assert "MLflow at http://127.0.0.1:9 does not answer: runs are kept" in done.stderr
    monkeypatch.setenv(*next(iter(dead.items())))
    assert "the mirror goes on trying" in wait_until_shown(tmp_path / "runs")
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert (Path(run["path"]) / "result.json").exists()
    end_mirror(tmp_path / "runs")


def end_mirror(storage):
    """The mirror outlives the script; these tests do not wait for that."""
    from cluster.lease import is_alive, read_holder

    for lease in storage.glob(".mirror/*/lease"):
        holder = read_holder(lease)
        if holder is not None and is_alive(lease):
            os.kill(holder["pid"], signal.SIGTERM)


def test_unusable_storage_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    for name, arguments in (("train", ["point-diffusion", "--preset", "tiny"]), ("sweep_diffusion", [])):
        for storage, said in (("file", "cannot be written"), ("thesis", "holds files that genlib did not write")):
            done = run_script(name, *arguments, "--storage", tmp_path / storage)
            assert done.returncode == 2
            assert said in done.stderr
            assert "Traceback" not in done.stderr


def test_a_job_without_storage_is_refused():
    done = run_script("train", "point-diffusion", "--preset", "tiny", RAY_JOB_CONFIG_JSON_ENV_VAR="{}")
    assert done.returncode == 2
    assert "give --storage, or GENLIB_STORAGE" in done.stderr


@pytest.mark.parametrize("name", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopped_it_says_so_in_its_directory_and_the_same_command_continues(tmp_path, name):
    asked = ["point-diffusion", "--preset", "tiny", "--steps", "3000", "--validate-every", "3000"]
    asked += ["--storage", str(tmp_path), "--tracking", "none"]
    train = command(ROOT / "experiments" / "train.py", *asked)
    with subprocess.Popen(train, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        while not any(map(last_row, tmp_path.glob("point-diffusion/*/journal"))):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(name)
        assert process.wait(timeout=30) == 128 + name
        said = process.stderr.read()
    (path,) = tmp_path.glob("point-diffusion/*")
    (kept,) = checkpoints(path / "checkpoints")
    step = int(kept.name.partition("-")[2])
    assert f"stopped by {name.name}: the plain same command continues from update {step:,}." in said
    assert (read_result(path).status, read_result(path).message) == ("KILLED", f"stopped by {name.name}")
    assert step - 10 < last_row(path / "journal")["step"] <= step
    done = run_script("train", *asked)
    assert done.returncode == 0
    assert read_result(path).status == "FINISHED"
    newest = sorted((path / "journal").iterdir())[-1]
    assert json.loads(newest.read_text().splitlines()[0])["after"] > step - 10


@pytest.mark.slow
def test_a_run_is_extended_from_another(tmp_path):
    command = ["point-diffusion", "--preset", "tiny", "--storage", tmp_path, "--json"]
    (first,) = json.loads(run_script("train", *command).stdout.splitlines()[-1])["runs"]
    done = run_script("train", *command, "--from", first["key"], "--steps", 40)
    assert done.returncode == 0, done.stderr
    (longer,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert longer["key"] != first["key"]
    assert last_row(Path(longer["path"]) / "journal")["step"] == 40
    refused = run_script("train", *command, "--from", first["key"])
    assert refused.returncode == 2
    assert "is at update 20 already: give --steps more" in refused.stderr
    refused = run_script("train", *command, "--from", first["key"], "--steps", 40, "--width", 64)
    assert refused.returncode == 2
    assert "its model or optimizer is another" in refused.stderr
    assert {path.name for path in run_folders(tmp_path)} == {first["key"], longer["key"]}


def test_a_divergence_is_a_failed_run(tmp_path):
    done = run_script("train", "point-diffusion", "--preset", "tiny", "--learning-rate", "1e30", "--storage", tmp_path)
    assert done.returncode == 1
    assert "most likely at fault is learning_rate (got 1e+30): try 0.001, or clip_norm 1" in done.stderr
    assert "figures:" not in done.stdout
    assert "Traceback" not in done.stderr


def test_help_names_every_field():
    done = run_script("train", "point-diffusion", "--help")
    assert done.returncode == 0
    for field in ("--schedule", "--sampling-steps", "--learning-rate", "--seed"):
        assert field in done.stdout


def test_one_run_needs_neither_ray_nor_mlflow():
    code = "import sys, experiments.train; print([name for name in ('ray', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
