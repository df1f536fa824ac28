"""A run is a directory: resumed, never done twice, opened again, one journal line per report."""

import json

import numpy as np
import pytest

from cluster.journal import Journal, read_rows
from cluster.run import Run, open_run
from genlib import InputError, PointDiffusion
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
    return [(row["step"], row["metrics"]) for row in read_rows(run.path / "journal.jsonl")]


def test_killed_and_run_again_is_the_same_run(tmp_path):
    whole = Run(STUDY, tmp_path / "whole")
    expected = whole.finish(whole.train(), figures=False)
    broken = Run(STUDY, tmp_path / "broken")
    for step in (10, 20, 30):
        with pytest.raises(Killed):
            broken.train(listener=kill_at(step))
    metrics = broken.finish(broken.train(), figures=False)
    assert rows(broken) == rows(whole)
    assert {k: v for k, v in metrics.items() if "cpu" not in k} == {k: v for k, v in expected.items() if "cpu" not in k}


def test_finished_runs_are_not_trained_again(tmp_path):
    run = Run(STUDY, tmp_path)
    run.finish(run.train(), figures=False)
    journal = (run.path / "journal.jsonl").read_bytes()
    heard = []
    run.finish(run.train(listener=heard.append), figures=False)
    assert heard == []
    assert (run.path / "journal.jsonl").read_bytes() == journal


def test_whatever_is_missing_is_made_again_and_the_default_evaluation_stays(tmp_path):
    run = Run(STUDY, tmp_path)
    run.finish(run.train(), figures=False)
    result = json.loads((run.path / "result.json").read_text())
    other = Run(PointDiffusion.preset("tiny", steps=40, sampling_steps=3), tmp_path)
    assert other.path == run.path
    different = other.finish(other.train(), figures=False)
    assert different["sliced_wasserstein"] != result["metrics"]["sliced_wasserstein"]
    assert json.loads((run.path / "result.json").read_text()) == result
    for name in ("result.json", "samples.npz"):
        (run.path / name).unlink()
        run.finish(run.train(), figures=False)
        assert (run.path / name).exists()
    assert json.loads((run.path / "result.json").read_text()) == result


def test_unfinished_runs_and_unwritable_storage_are_refused(tmp_path):
    run = Run(STUDY, tmp_path)
    with pytest.raises(Killed):
        run.train(listener=kill_at(20))
    with pytest.raises(InputError, match="is at update 20 of 40"):
        open_run(run.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Run(STUDY, tmp_path / "file").train()


def test_the_directory_holds_what_it_should(tmp_path):
    run = Run(STUDY, tmp_path)
    metrics = run.finish(run.train())
    assert run.path == tmp_path / "point-diffusion" / STUDY.key()
    result = json.loads((run.path / "result.json").read_text())
    assert result["status"] == "FINISHED"
    assert result["metrics"] == metrics
    assert {"nll", "nll_gap", "c2st", "sliced_wasserstein", "sliced_wasserstein_floor", "coverage", "leakage"} <= set(
        metrics
    )
    assert {"cpu_seconds", "updates_per_cpu_second"} <= set(metrics)
    assert np.load(run.path / "samples.npz")["x"].shape == (STUDY.samples, 2)
    assert len(checkpoints(run.path / "checkpoints")) == 2
    (evaluation,) = (run.path / "evaluations").iterdir()
    figures = {path.stem for path in (evaluation / "figures").glob("*.png")}
    assert {"loss", "samples", "schedules"} <= figures
    assert {path.name.split(".")[0] for path in (evaluation / "figures").glob("*.csv")} == figures
    assert json.loads((run.path / "study.json").read_text())["fields"] == STUDY.fields()


def test_a_run_is_opened_again(tmp_path):
    run = Run(STUDY, tmp_path)
    trained = run.train()
    opened = open_run(run.path)
    assert opened.study == STUDY
    assert opened.history.rows == trained.history.rows
    assert opened.evaluation.metrics == trained.evaluation.metrics
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
    assert any(path.name.startswith("damaged-") for path in (run.path / "checkpoints").iterdir())


def test_a_half_written_journal_line_is_cut_off(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(10, {"loss": 1.0})
    journal.append(20, {"loss": 0.5})
    with open(journal.path, "a") as file:
        file.write('{"step": 30, "metr')
    assert [row["step"] for row in read_rows(journal.path)] == [10, 20]
    assert journal.path.read_text().endswith("metr")  # reading changes nothing
    reopened = Journal(journal.path)
    assert reopened.last_step == 20
    reopened.append(20, {"loss": 9.0})
    reopened.append(30, {"loss": 0.25})
    assert [(row["step"], row["metrics"]["loss"]) for row in read_rows(journal.path)] == [
        (10, 1.0),
        (20, 0.5),
        (30, 0.25),
    ]
