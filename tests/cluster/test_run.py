"""A run is resumed, never done twice, opened again, and its directory holds what it should."""

import json
import math
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from cluster.directory import read_result
from cluster.files import Stopped, read_json, sealed, unsealed, write_json
from cluster.journal import read_rows
from cluster.lease import LOOK, Fenced, Lease, ask_to_stop
from cluster.opening import open_run
from cluster.run import Run, start_anew
from cluster.states import Origin
from cluster.storage import open_storage, run_folders
from genlib import InputError, PointDiffusion
from genlib import train as train_study
from genlib.checkpoint import checkpoints

STUDY = PointDiffusion.preset("tiny", steps=40)


class Killed(Exception):
    """Stands in for a crash."""


def kill_at(step):
    def listener(progress):
        if progress.step >= step:
            raise Killed

    return listener


def rows(run):
    return [(row["step"], row["metrics"]) for row in read_rows(run.path / "journal")]


def without_times(metrics):
    return {name: value for name, value in metrics.items() if "cpu" not in name}


def train(run):
    (metrics,) = run.execute(figures=False)
    return metrics


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = Run(STUDY, tmp_path_factory.mktemp("runs"))
    return run, train(run)


def weights(run):
    return (checkpoints(run.path / "checkpoints")[-1] / "manifest.json").read_text()


def test_killed_and_run_again_is_the_same_run(tmp_path, undisturbed):
    whole, expected = undisturbed
    broken = Run(STUDY, tmp_path)
    for step in (10, 20, 30):
        with pytest.raises(Killed):
            broken.train(listener=kill_at(step))
        assert broken.result().status == "FAILED"
    metrics = train(broken)
    assert rows(broken) == rows(whole)
    assert without_times(metrics) == without_times(expected)
    for name in ("model", "optimizer"):
        states = [open_state(run)[name] for run in (broken, whole)]
        assert equal(*states), name


def open_state(run):
    import torch

    return torch.load(checkpoints(run.path / "checkpoints")[-1] / "state.pt", weights_only=True)


def equal(one, other):
    import torch

    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("step", [10, 20, 30])
def test_asked_to_stop_it_keeps_its_state_and_goes_on_from_there(tmp_path, undisturbed, monkeypatch, step):
    whole, expected = undisturbed
    run = Run(STUDY, tmp_path)
    looks = []

    def is_asked(_):
        looks.append(None)
        return len(looks) > step + 3  # after every update, and beside every report

    with monkeypatch.context() as patched:
        patched.setattr(Lease, "is_asked_to_stop", is_asked)
        with pytest.raises(Stopped, match=r"stopped at update \d+, where"):
            run.train()
    assert run.result().status == "KILLED"
    kept = int(checkpoints(run.path / "checkpoints")[-1].name.partition("-")[2])
    assert rows(run)[-1][0] <= kept < rows(run)[-1][0] + STUDY.log_every
    assert kept % STUDY.log_every or step == 10
    metrics = train(run)
    assert rows(run) == rows(whole)
    assert without_times(metrics) == without_times(expected)
    assert all(equal(open_state(run)[name], open_state(whole)[name]) for name in ("model", "optimizer"))


def test_another_process_asks_and_a_newer_writer_is_not_meant(tmp_path):
    run = Run(STUDY, tmp_path)

    def ask(progress):
        if progress.step == 10:
            time.sleep(2 * LOOK)
            ask_to_stop(run.path / "lease")

    with pytest.raises(Stopped):
        run.train(listener=ask)
    assert run.train().history.rows[-1][0] == 40
    assert not list(run.path.glob("lease/*.stop"))


RARELY = replace(STUDY, validate_every=20, log_every=5)


def test_states_are_kept_by_the_clock_too(tmp_path, monkeypatch):
    whole, run = Run(RARELY, tmp_path / "undisturbed"), Run(RARELY, tmp_path / "runs")
    expected = train(whole)
    with monkeypatch.context() as patched:
        patched.setattr("cluster.states.MINUTE", 0.0)
        patched.setattr("cluster.states.SHARE", math.inf)
        with pytest.raises(Killed):
            run.train(listener=kill_at(10))  # before its first validation
    assert [path.name for path in checkpoints(run.path / "checkpoints")] == ["step-00000005", "step-00000010"]
    half = run.path / "checkpoints" / ".step-00000020.abc"
    half.mkdir()
    assert without_times(train(run)) == without_times(expected)
    assert rows(run) == rows(whole)
    assert not half.exists()
    assert [path.name for path in checkpoints(run.path / "checkpoints")] == [
        path.name for path in checkpoints(whole.path / "checkpoints")
    ]


def test_a_clock_keeps_no_state_whose_weights_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.states.MINUTE", 0.0)
    run = Run(RARELY, tmp_path)
    with run.claimed() as lease:
        for progress in train_study(RARELY, until=5):
            with torch.no_grad():
                next(progress.state.model.parameters()).view(-1)[0] = math.nan
            run.states.keep(progress, lease)
    assert not checkpoints(run.path / "checkpoints")


def test_a_fenced_writer_replaces_no_evaluation(tmp_path, undisturbed):
    whole, _ = undisturbed
    open_storage(tmp_path)
    shutil.copytree(whole.path, path := tmp_path / whole.path.parent.name / whole.key)
    run, trained = Run(STUDY, tmp_path), open_run(path)
    study = replace(STUDY, sampling_steps=STUDY.sampling_steps + 1)
    folder = run.evaluation_folder(study)

    def measured_while_another_takes_over():
        looked = replace(trained, study=study)
        with run.claimed():
            _ = looked.evaluation  # which takes its time
            Lease.claim(path / "lease", anyhow=True).release()
            folder.mkdir()
            (folder / "metrics.json").write_text("those of another process")  # its manifest will follow
            run.finish(looked, figures=False)

    with pytest.raises(Fenced):
        measured_while_another_takes_over()
    assert (folder / "metrics.json").read_text() == "those of another process"
    assert not list(folder.parent.glob(".*"))


def test_damaged_samples_beside_the_result_are_mended(tmp_path):
    run = Run(STUDY, tmp_path)
    train(run)
    samples = run.path / "samples.npz"
    good = samples.read_bytes()
    samples.write_bytes(good[:-9])
    train(run)
    assert samples.read_bytes() == good


def test_finished_runs_are_not_trained_again(tmp_path):
    run = Run(STUDY, tmp_path)
    first = train(run)
    journal = {path.name: path.read_bytes() for path in (run.path / "journal").iterdir()}
    heard = []
    assert run.execute(None, heard.append, figures=False) == [first]
    assert heard == []
    assert {path.name: path.read_bytes() for path in (run.path / "journal").iterdir()} == journal


def test_whatever_is_missing_is_made_again_and_the_default_evaluation_stays(tmp_path):
    run = Run(STUDY, tmp_path)
    train(run)
    result = run.result()
    other = Run(PointDiffusion.preset("tiny", steps=40, sampling_steps=3), tmp_path)
    assert other.path == run.path
    different = train(other)
    assert different["sliced_wasserstein"] != result.metrics["sliced_wasserstein"]
    assert run.result() == result
    (run.path / "result.json").unlink()
    assert without_times(train(run)) == without_times(result.metrics)
    assert run.result().status == "FINISHED"


def test_looks_are_evaluated_from_one_training(tmp_path):
    looks = [replace(STUDY, sampling_steps=steps) for steps in (2, 8)]
    run = Run(looks[0], tmp_path)
    two, eight = run.execute(looks=looks, figures=False)
    assert two["sliced_wasserstein"] != eight["sliced_wasserstein"]
    assert run.result().metrics == two
    assert len(list((run.path / "evaluations").iterdir())) == 2


def test_a_run_begun_with_other_evaluation_fields_finishes_all_the_same(tmp_path):
    run = Run(STUDY, tmp_path)
    with pytest.raises(Killed):
        run.train(listener=kill_at(20))
    other = Run(replace(STUDY, sampling_steps=3), tmp_path)
    (metrics,) = other.execute(figures=False)
    assert other.result().status == "FINISHED"
    assert other.result().metrics["sliced_wasserstein"] != metrics["sliced_wasserstein"]  # of the fields first asked


def test_a_damaged_study_json_is_made_anew(tmp_path, capsys):
    run = Run(STUDY, tmp_path)
    train(run)
    (run.path / "study.json").write_text("{")
    train(run)
    assert open_run(run.path).study == STUDY
    assert "is damaged" in capsys.readouterr().err


def test_unfinished_runs_and_unwritable_storage_are_refused(tmp_path):
    run = Run(STUDY, tmp_path / "runs")
    with pytest.raises(Killed):
        run.train(listener=kill_at(20))
    with pytest.raises(InputError, match="is at update 20 of 40"):
        open_run(run.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Run(STUDY, tmp_path / "file").train()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(InputError, match="holds files that genlib did not write"):
        Run(STUDY, tmp_path / "thesis").train()
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_the_directory_holds_what_it_should(tmp_path):
    run = Run(STUDY, tmp_path)
    (metrics,) = run.execute()
    assert run.path == tmp_path / "point-diffusion" / STUDY.key()
    result = json.loads((run.path / "result.json").read_text())
    assert result["status"] == "FINISHED"
    assert result["metrics"] == metrics
    assert {"nll", "nll_gap", "c2st", "sliced_wasserstein", "sliced_wasserstein_floor", "coverage", "leakage"} <= set(
        metrics
    )
    assert {"cpu_seconds", "updates_per_cpu_second"} <= set(metrics)
    assert np.load(run.path / "samples.npz")["x"].shape == (STUDY.samples, 2)
    assert 2 <= len(checkpoints(run.path / "checkpoints")) <= 3
    (evaluation,) = (run.path / "evaluations").iterdir()
    figures = {path.stem for path in (evaluation / "figures").glob("*.png")}
    assert {"loss", "samples", "schedules"} <= figures
    assert {path.name.split(".")[0] for path in (evaluation / "figures").glob("*.csv")} == figures
    about = read_json(run.path / "study.json")
    assert about["fields"] == STUDY.fields()
    assert about["data"]["train"]["rows"] == STUDY.points
    assert {"source", "packages", "machine", "commit"} <= set(about)
    line = json.loads((run.path / "journal" / "00000001.jsonl").read_text().splitlines()[1])
    assert {"step", "time", "metrics"} <= set(line)


def test_the_best_checkpoint_is_kept(tmp_path):
    study = replace(STUDY, validate_every=5)
    run = Run(study, tmp_path)
    run.train()
    steps, values = run.history().series(study.objective[0])
    kept = {int(path.name[5:]) for path in checkpoints(run.path / "checkpoints")}
    assert kept == {35, 40, int(steps[values.argmin()])}


def test_a_run_is_opened_again(undisturbed, tmp_path):
    run, metrics = undisturbed
    opened = open_run(run.path)
    assert opened.study == STUDY
    assert [*opened.history.rows] == [*run.history().rows]
    assert without_times(opened.evaluation.metrics) == without_times(metrics) | {}
    with pytest.raises(InputError, match="is no run directory"):
        open_run(tmp_path)


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(tmp_path, capsys):
    run = Run(STUDY, tmp_path)
    run.train()
    expected = rows(run)
    newest = checkpoints(run.path / "checkpoints")[-1]
    (newest / "state.pt").write_bytes(b"garbage")
    again = run.train()
    assert again.study == STUDY
    assert "is damaged" in capsys.readouterr().err
    assert rows(run) == expected
    assert any(path.name.startswith("aside-") for path in (run.path / "checkpoints").iterdir())


def test_a_failed_run_says_why_and_a_second_one_continues(tmp_path):
    run = Run(replace(STUDY, learning_rate=1e30), tmp_path)
    with pytest.raises(InputError, match="learning_rate"):
        run.execute()
    result = run.result()
    assert result.status == "FAILED"
    assert "learning_rate" in result.message


def test_another_kind_of_device_needs_to_be_wanted(tmp_path):
    run = Run(STUDY, tmp_path)
    with pytest.raises(Killed):
        run.train(listener=kill_at(20))
    (segment,) = (run.path / "journal").glob("*.jsonl")
    head, *lines = segment.read_text().splitlines()
    segment.write_text("\n".join([sealed({**unsealed(head), "device": "cuda"}), *lines]) + "\n")
    before = run.result()
    with pytest.raises(InputError, match=r"begun on cuda, and this is cpu.*--any-device"):
        run.train()
    assert run.result() == before  # refused: nothing has changed
    run.train(any_device=True)
    assert run.history().rows[-1][0] == 40


def test_a_run_is_extended_from_another(tmp_path):
    first = Run(STUDY, tmp_path)
    first.train()
    longer = replace(STUDY, steps=60)
    origin = Origin(first.path, first.key, 40)
    extended = Run(longer, tmp_path, origin=origin)
    assert extended.key not in (longer.key(), first.key)
    with pytest.raises(Killed):
        extended.train(listener=kill_at(50))
    extended.train()
    straight = Run(longer, tmp_path)
    straight.train()
    assert rows(extended) == rows(straight)  # a constant learning rate does not know how long it will be used
    assert equal(open_state(extended)["model"], open_state(straight)["model"])
    with pytest.raises(InputError, match="its model or optimizer is another"):
        Run(replace(longer, width=8), tmp_path, origin=origin).train()


def test_starting_anew_keeps_the_old(tmp_path):
    run = Run(STUDY, tmp_path)
    train(run)
    aside = start_anew(run)
    assert run.result().status == "NEW"
    assert read_result(aside).status == "FINISHED"
    assert list(run_folders(tmp_path)) == []


def test_a_run_of_another_version_is_refused(tmp_path):
    run = Run(STUDY, tmp_path)
    run.train()
    about = read_json(run.path / "study.json")
    write_json(run.path / "study.json", {**about, "format": 99})
    with pytest.raises(InputError, match="of format 99; this genlib reads format 2"):
        run.train()
    write_json(run.path / "study.json", {**about, "version": 99})
    with pytest.raises(InputError, match="made by version 99 of point-diffusion"):
        open_run(run.path)
