"""The scripts, run as a user runs them, at tiny size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(name, *arguments, **environment):
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | environment
    command = [sys.executable, str(ROOT / "experiments" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)


def test_train_writes_a_run_and_says_where(tmp_path, kind):
    done = script("train", kind.title(), "--preset", "tiny", "--seed", 3, "--storage", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert run["status"] == "FINISHED"
    assert run["key"] == kind.preset("tiny", seed=3).key()
    assert json.loads((Path(run["path"]) / "result.json").read_text())["metrics"] == run["metrics"]
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["point-difusion"], "unknown study 'point-difusion': the studies are point-diffusion"),
        (["point-diffusion", "--preset", "bset"], "no preset 'bset'"),
        (["point-diffusion", "--widht", "3"], "--width"),
        (["point-diffusion", "--width", "0"], "PointDiffusion.width: got 0"),
        (["point-diffusion", "--classes", "4"], "classes: got 4"),
        (["point-diffusion", "--device", "cuda:7"], "torch sees no GPU here"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, arguments, said):
    done = script("train", *arguments, "--storage", tmp_path / "runs")
    assert done.returncode == 2
    words = " ".join(done.stderr.replace("│", " ").split()) + " ".join(done.stdout.replace("│", " ").split())
    assert said in words
    assert "Traceback" not in words
    assert not (tmp_path / "runs").exists()


def test_without_mlflow_the_run_is_whole_and_says_so(tmp_path):
    dead = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = script("train", "spiral-diffusion", "--preset", "tiny", "--storage", tmp_path, "--json", **dead)
    assert done.returncode == 0
    assert "not mirrored: MLflow at http://127.0.0.1:9 does not answer" in done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert (Path(run["path"]) / "result.json").exists()


def test_unusable_storage_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for name, arguments in (("train", ["point-diffusion", "--preset", "tiny"]), ("sweep_diffusion", [])):
        done = script(name, *arguments, "--storage", tmp_path / "file")
        assert done.returncode == 2
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_divergence_is_a_failed_run(tmp_path):
    done = script("train", "point-diffusion", "--preset", "tiny", "--learning-rate", "1e30", "--storage", tmp_path)
    assert done.returncode == 1
    assert "most likely at fault is learning_rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_field():
    done = script("train", "point-diffusion", "--help")
    assert done.returncode == 0
    for field in ("--schedule", "--sampling-steps", "--learning-rate", "--seed"):
        assert field in done.stdout


def test_a_sweeps_plan_starts_nothing(tmp_path):
    done = script("sweep_diffusion", "--plan", "--storage", tmp_path / "runs")
    assert done.returncode == 0
    assert "8 runs, each evaluated 3 times" in done.stderr
    assert not (tmp_path / "runs").exists()
