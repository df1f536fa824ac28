"""A run directory is data: what its text names is neither imported nor called, and 0.4.0's are read."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.directory import read_result
from cluster.evaluations import SPEED
from cluster.files import read_json, write_json
from cluster.opening import open_run, open_study
from cluster.run import Run
from genlib import InputError, PointDiffusion, fit

STUDY = PointDiffusion.preset("tiny")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    run = Run(STUDY, tmp_path / "runs")
    run.execute(figures=False)
    return run


def test_what_was_measured_and_drawn_is_read_not_made_anew(tmp_path, monkeypatch):
    run = Run(STUDY, tmp_path)
    (metrics,) = run.execute(figures=True)
    drawn = fit(STUDY).figures
    monkeypatch.setattr(PointDiffusion, "evaluate", None)
    monkeypatch.setattr("genlib.studies.point_diffusion.figures.draw", None)
    monkeypatch.setenv("GENLIB_STORAGE", str(tmp_path))
    for named in (run.path, str(run.path), run.key, run.key[:6]):
        opened = open_run(named)
        measured = {name: value for name, value in metrics.items() if name not in SPEED}
        assert opened.evaluation.metrics == measured
        assert opened.evaluation.samples["x"].shape == (STUDY.samples, 2)
    figures = opened.figures
    assert "samples" in figures
    assert {name: set(one.arrays) for name, one in figures.items()} == {n: set(one.arrays) for n, one in drawn.items()}
    assert figures["loss"].figure.get_size_inches() == pytest.approx(drawn["loss"].figure.get_size_inches(), abs=0.02)
    assert figures["loss"]._repr_png_().startswith(b"\x89PNG")
    assert len(repr(opened)) < 100
    assert len(repr(figures["loss"])) < 300


def test_another_look_is_measured(run):
    opened = replace(open_run(run.path), study=replace(STUDY, sampling_steps=3))
    assert opened.evaluation.metrics["evaluations"] != run.result().metrics["evaluations"]


def test_a_history_is_a_table_too(run):
    frame = open_run(run.path).history.frame()
    assert list(frame.index) == [10, 20]
    assert frame.loc[20, "validation/loss"] == open_run(run.path).history.series("validation/loss")[1][-1]
    assert frame.index.name == "step"


def rewrite(run, **news):
    write_json(run.path / "study.json", read_json(run.path / "study.json") | news)


@pytest.mark.parametrize("place", ["subprocess:Popen", "os:system", "Popen", "builtins:exec"])
def test_a_program_that_it_names_is_not_run(run, tmp_path, place):
    mark = tmp_path / "it-ran"
    rewrite(run, study=place, fields={"args": ["touch", str(mark)]}, version=1)
    with pytest.raises(InputError, match="which is none of genlib's"):
        open_study(run.path)
    listed = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "runs.py"), "list", "--storage", str(run.storage)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0
    from cluster.mirror.bring import Mirror

    Mirror(run.storage).bring_everything()
    assert not mark.exists()


def test_a_module_that_it_names_is_not_imported(run, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rewrite(run, study="planted:Study", own={"place": f"{tmp_path}/planted.py:Study", "source": "0"})
    with pytest.raises(InputError, match="name it in this command"):
        open_run(run.path)
    assert not (tmp_path / "imported").exists()


def test_a_run_of_040_is_read_and_is_the_same_run(run):
    before = run.result()
    rewrite(run, study="genlib.studies.point_diffusion:PointDiffusion", format=1)
    for checkpoint in (run.path / "checkpoints").glob("*/manifest.json"):
        content = json.loads(checkpoint.read_text())
        assert content["study"] == "PointDiffusion"
    assert open_study(run.path) == STUDY
    assert open_run(run.path).study == STUDY
    heard = []
    run.execute(None, heard.append, figures=False)
    assert heard == []
    assert read_result(run.path) == before


def test_what_is_recorded_is_the_studys_name(run):
    record = read_json(run.path / "study.json")
    assert (record["study"], record["key"], record["epochs"]) == ("PointDiffusion", STUDY.key(), 6.4)
    assert record["own"] is None
