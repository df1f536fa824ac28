"""The scripts, run as a user runs them, at tiny size."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.directory import open_run, read_result
from cluster.journal import last_row
from cluster.run import Run
from genlib import STUDIES, ColourTransfer, InputError, PointDiffusion, TinyGPT

ROOT = Path(__file__).parents[2]


def script(name, *arguments, **environment):
    """Run a script to its end; without MLflow, which takes longer than all else, unless an address is given."""
    env = os.environ | {"MLFLOW_TRACKING_URI": "none"} | environment
    command = [sys.executable, str(ROOT / "experiments" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)


SOME = {"point-diffusion", "joint-vae"}


@pytest.mark.parametrize(
    "kind",
    [k if k.title() in SOME else pytest.param(k, marks=pytest.mark.slow) for k in STUDIES],
    ids=lambda k: k.title(),
)
def test_train_writes_a_run_and_says_where(tmp_path, kind):
    done = script("train", kind.title(), "--preset", "tiny", "--seed", 3, "--storage", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".mirror").exists()
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert run["status"] == "FINISHED"
    assert run["key"] == kind.preset("tiny", seed=3).key()
    assert json.loads((Path(run["path"]) / "result.json").read_text())["metrics"] == run["metrics"]


def test_unless_asked_otherwise_the_run_is_in_mlflow_when_the_script_ends(tmp_path):
    done = script(
        "train", "point-diffusion", "--preset", "tiny", "--storage", tmp_path, "--json", MLFLOW_TRACKING_URI=""
    )
    assert done.returncode == 0, done.stderr
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (shown,) = client.search_runs([client.get_experiment_by_name("point-diffusion").experiment_id])
    assert shown.info.status == "FINISHED"
    end_mirror(tmp_path)


def test_what_was_not_mirrored_is_mirrored_later_and_none_is_no_address(tmp_path):
    refused = script("mirror", "--storage", tmp_path)
    assert refused.returncode == 2
    Run(PointDiffusion.preset("tiny"), tmp_path).execute(figures=False)
    refused = script("mirror", "--storage", tmp_path)
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
        (["point-diffusion", "--from", "nowhere"], "there is no run nowhere"),
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
    done = script("train", "spiral-diffusion", "--preset", "tiny", "--storage", tmp_path / "runs", "--json", **dead)
    assert done.returncode == 0
    assert "MLflow at http://127.0.0.1:9 does not answer: runs are kept" in done.stderr
    assert "the mirror goes on trying" in done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert (Path(run["path"]) / "result.json").exists()
    end_mirror(tmp_path / "runs")


def end_mirror(storage):
    """The mirror outlives the script; these tests do not wait for that."""
    from cluster.lease import read_holder

    for lease in storage.glob(".mirror/*/lease"):
        holder = read_holder(lease)
        if holder is not None and holder["alive"]:
            os.kill(holder["pid"], signal.SIGTERM)


def test_unusable_storage_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    for name, arguments in (("train", ["point-diffusion", "--preset", "tiny"]), ("sweep_diffusion", [])):
        for storage, said in (("file", "cannot be written"), ("thesis", "holds files that genlib did not write")):
            done = script(name, *arguments, "--storage", tmp_path / storage)
            assert done.returncode == 2
            assert said in done.stderr
            assert "Traceback" not in done.stderr


def test_a_job_without_storage_is_refused():
    done = script("train", "point-diffusion", "--preset", "tiny", RAY_JOB_CONFIG_JSON_ENV_VAR="{}")
    assert done.returncode == 2
    assert "give --storage, or GENLIB_STORAGE" in done.stderr


@pytest.mark.parametrize("name", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopped_it_says_so_in_its_directory_and_the_same_command_continues(tmp_path, name):
    command = [sys.executable, str(ROOT / "experiments" / "train.py"), "point-diffusion", "--preset", "tiny"]
    command += ["--steps", "3000", "--validate-every", "50", "--storage", str(tmp_path), "--tracking", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        while not list(tmp_path.glob("point-diffusion/*/checkpoints/step-*")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(name)
        assert process.wait(timeout=30) == 128 + name
        assert f"stopped by {name.name}: the plain same command continues" in process.stderr.read()
    (path,) = tmp_path.glob("point-diffusion/*")
    assert read_result(path)[2:] == ("KILLED", {}, f"stopped by {name.name}")
    step = last_row(path / "journal")["step"]
    done = script(*["train", *command[2:]])
    assert done.returncode == 0
    assert read_result(path).status == "FINISHED"
    assert json.loads((path / "journal" / "00000002.jsonl").read_text().splitlines()[0])["after"] >= step


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run by class, in a storage."""
    study = PointDiffusion.preset("tiny", classes=5)
    run = Run(study, tmp_path_factory.mktemp("runs"))
    run.execute(figures=False)
    return run


def test_samples_are_drawn_from_a_run(trained, tmp_path):
    out = tmp_path / "some.npz"
    arguments = [trained.key[:6], "--storage", trained.storage, "--count", 30, "--out", out]
    done = script("sample", *arguments, "--sampling-steps", 3)
    assert done.returncode == 0, done.stderr
    first = dict(np.load(out))
    assert first["x"].shape == (30, 2)
    assert first["y"].shape == (30,)
    script("sample", *arguments, "--seed", 1)
    assert not np.array_equal(np.load(out)["x"], first["x"])
    done = script("sample", *arguments, "--width", 3)
    assert done.returncode == 2
    assert "'width' made the model" in done.stderr
    assert script("sample", "nothing", "--storage", trained.storage).returncode == 2


def test_a_study_of_images_scores_no_points(tmp_path):
    from experiments.score import Options, main

    points = tmp_path / "mine.csv"
    points.write_text("0.1,0.2\n")
    run = Run(ColourTransfer.preset("tiny"), tmp_path / "runs")
    run.execute(figures=False, evaluation=False)
    with pytest.raises(InputError, match="colour-transfer is a study of images: give a run of a study of points"):
        main(Options(str(run.path), points))


def test_text_is_generated_and_scored(tmp_path, capsys):
    from experiments import generate, score

    run = Run(TinyGPT.preset("tiny"), tmp_path / "runs")
    run.execute(figures=False, evaluation=False)
    generate.main(generate.Options(str(run.path), "The queen", tokens=30, temperature=0))
    text = capsys.readouterr().out
    assert text.startswith("The queen")
    assert len(text) == len("The queen") + 30 + 1
    score.main(score.Options(str(run.path), text="The queen sees", out=tmp_path / "scored.csv"))
    said = capsys.readouterr().out
    values = [float(line.rpartition(",")[2]) for line in (tmp_path / "scored.csv").read_text().splitlines()[1:]]
    assert len(values) == 13
    assert f"total {sum(values):.4f} nats" in said
    with pytest.raises(InputError, match="--text: got 'T'; give at least two tokens"):
        score.main(score.Options(str(run.path), text="T"))
    for wrong, words in (
        ({"temperature": -1.0}, "at least 0"),
        ({"top_p": 0.0}, "above 0"),
        ({"tokens": 0}, "least 1"),
    ):
        with pytest.raises(InputError, match=words):
            generate.main(generate.Options(str(run.path), "The", **wrong))
    with pytest.raises(InputError, match="'Ω': not among"):
        generate.main(generate.Options(str(run.path), "Ω"))
    with pytest.raises(InputError, match="tiny-gpt scores texts: give --text"):
        score.main(score.Options(str(run.path), tmp_path / "points.csv"))
    with pytest.raises(InputError, match="one of the two"):
        score.main(score.Options(str(run.path)))


def test_of_several_sweeps_the_best_settings_come_best_first():
    from experiments.command.sweeps import View, _best_of_each
    from tuning.sweep import Measured, Sweep, Swept

    study = PointDiffusion.preset("tiny")
    values = {"worse": 2.0, "better": 1.0}
    views = [View(Sweep(name=name, study=study, space={"width": [8]}, metric="nll"), "width", "") for name in values]
    swept = [Swept([], [Measured({"width": 8}, study, {0: {"nll": nll}})], {}, Path()) for nll in values.values()]
    assert list(_best_of_each(views, swept).columns[0].cells) == ["better", "worse"]


def test_points_are_scored(trained, tmp_path):
    points = tmp_path / "mine.csv"
    points.write_text("x,y,class\n0.1,0.2,0\n-1.5,1.5,4\n")
    done = script("score", trained.key, points, "--storage", trained.storage)
    assert done.returncode == 0, done.stderr
    scored = np.loadtxt(tmp_path / "mine.scored.csv", delimiter=",", skiprows=1)
    opened = open_run(trained.path)
    expected = opened.study.log_prob(opened.model, torch.tensor([[0.1, 0.2], [-1.5, 1.5]]), torch.tensor([0, 4]))
    np.testing.assert_allclose(scored[:, -1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no points"),
        ("1,2\n", "has 2 columns: this run needs 2 and the class"),
        ("1,2,9\n", "a class is not one of 0 to 4"),
        ("1,2,0\n1,zwei,0\n", "line 2: '1,zwei,0' is not numbers"),
        ("1,2,0\n1,2\n", "line 2: 2 columns, the lines before have 3"),
        ("1,inf,0\n", "point 1 is not finite"),
    ],
)
def test_points_that_cannot_be_scored_are_named(trained, tmp_path, text, said):
    from experiments.score import Options, main

    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        main(Options(trained.key, tmp_path / "mine.csv", storage=trained.storage))


def test_runs_are_listed_shown_compared_and_deleted(tmp_path, capsys):
    from experiments.runs import main

    runs = [Run(PointDiffusion.preset("tiny", seed=seed), tmp_path) for seed in (0, 1)]
    for run in runs:
        run.execute(figures=False)
    one, other = (run.key for run in runs)
    main(["list", "--storage", str(tmp_path)])
    listed = capsys.readouterr().out
    assert one in listed
    assert "20/20" in listed
    main(["show", one, "--storage", str(tmp_path)])
    assert "batch_size" in capsys.readouterr().out
    main(["diff", one, other, "--storage", str(tmp_path)])
    compared = capsys.readouterr().out
    assert "seed" in compared
    assert "batch_size" not in compared
    main(["delete", one, "--storage", str(tmp_path)])
    assert runs[0].path.exists()
    main(["delete", one, "--yes", "--storage", str(tmp_path)])
    assert not runs[0].path.exists()
    with pytest.raises(InputError, match="there is no run"):
        main(["delete", one, "--yes", "--storage", str(tmp_path)])


def test_a_run_is_extended_from_another(tmp_path):
    command = ["point-diffusion", "--preset", "tiny", "--storage", tmp_path, "--json"]
    (first,) = json.loads(script("train", *command).stdout.splitlines()[-1])["runs"]
    done = script("train", *command, "--from", first["key"], "--steps", 40)
    assert done.returncode == 0, done.stderr
    (longer,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert longer["key"] != first["key"]
    assert last_row(Path(longer["path"]) / "journal")["step"] == 40
    refused = script("train", *command, "--from", first["key"])
    assert refused.returncode == 2
    assert "is at update 20 already: give --steps more" in refused.stderr


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


@pytest.mark.parametrize(
    "name",
    [
        "leaderboard_points",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sweep_flow", "sweep_flow_matching")),
    ],
)
def test_every_big_job_has_a_plan(tmp_path, name):
    done = script(name, "--plan", "--storage", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert "at once" in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_leaderboard_ends_in_a_table_and_pictures_and_goes_on_where_it_was(tmp_path):
    options = ("--densities", "rings", "--seeds", 1, "--share", 0.002, "--storage", tmp_path / "runs", "--json")
    for _ in range(2):
        done = script("leaderboard_points", *options)
        assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert len(runs) == 16
    folder = tmp_path / "runs" / "leaderboard-points-0.002"
    assert {"evaluations.png", "training_time.png", "leaderboard.md", "leaderboard.json"} <= {
        path.name for path in folder.iterdir()
    }
    table = (folder / "leaderboard.md").read_text()
    assert all(method in table for method in ("diffusion", "affine", "spline", "flow matching"))
    for key, looks in json.loads((folder / "leaderboard.json").read_text()).items():
        assert len({look["nll"] for look in looks}) == 1, key  # in few steps it would be the likelihood of nothing
        assert all(look["nll_gap"] > -4 * look["nll_error"] for look in looks), key


def test_plans_start_nothing(tmp_path):
    done = script("sweep_diffusion", "--plan", "--storage", tmp_path / "runs")
    assert done.returncode == 0
    assert "8, each evaluated 3 times" in done.stdout
    assert "MiB as a Ray job's working directory" in done.stdout
    done = script("train", "point-diffusion", "--plan", "--preset", "tiny", "--storage", tmp_path / "runs")
    assert done.returncode == 0
    done = script("train", "point-diffusion", "--preset", "tiny", "--workers", "64", "--storage", tmp_path / "runs")
    assert done.returncode == 2
    assert "a run needs 64 CPUs" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_one_run_needs_neither_ray_nor_mlflow():
    code = "import sys, experiments.train; print([name for name in ('ray', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
