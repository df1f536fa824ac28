"""What a person sees while a script runs: words from the first second on, and a time left that can be believed."""

import time

import pytest

from cluster.journal import Journal
from cluster.lease import Lease
from cluster.run import Run
from cluster.storage import open_storage
from experiments.command import line
from experiments.command.watching import Pace, every_second, watching_many, watching_run
from genlib import PointDiffusion

STUDY = PointDiffusion.preset("tiny", steps=40)


class Said:
    """All that was written to standard error so far."""

    def __init__(self, capsys):
        self.capsys, self.text = capsys, ""

    def now(self):
        self.text += self.capsys.readouterr().err
        return self.text

    def comes_to(self, words, seconds=10.0):
        """Whether words are said within a time."""
        began = time.monotonic()
        while words not in self.now() and time.monotonic() - began < seconds:
            time.sleep(0.05)
        return words in self.text


@pytest.fixture
def said(monkeypatch, capsys):
    """What is written, where a line may follow the last one at once."""
    monkeypatch.setattr(line, "SELDOM", 0.0)
    return Said(capsys)


def test_the_time_left_does_not_count_a_start_as_speed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace()
    expected = {102: (2, ", about 8 s left"), 103: (3, ", about 7 s left"), 110: (10, "")}
    for seconds, (work, left) in ({0: (0, ""), 100: (0, ""), 101: (1, "")} | expected).items():
        now[0] = seconds
        assert pace.left(work, 10) == left


def test_what_was_done_before_is_no_speed_either(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace()
    assert [pace.left(900, 1_000), pace.left(900, 1_000)] == ["", ""]
    now[0] = 10.0
    assert pace.left(910, 1_000) == ""
    now[0] = 20.0
    assert pace.left(920, 1_000) == ", about 80 s left"


def test_a_run_says_what_it_does(tmp_path, said):
    run = Run(STUDY, tmp_path)

    def listen(progress):
        if progress.step == 10:
            assert said.comes_to("point-diffusion 10/40")
        if progress.step == 40:
            assert said.comes_to("point-diffusion: trained; measuring and drawing")

    with watching_run([run]):
        assert said.comes_to("point-diffusion: starting …")
        run.execute(None, listen, figures=False)


def test_many_runs_say_how_many_have_come_through(tmp_path, said):
    runs = [Run(STUDY, tmp_path), Run(PointDiffusion.preset("tiny", seed=1), tmp_path)]

    def listen(progress):
        assert said.comes_to("0 of 2 runs done · point-diffusion 10/40")

    with watching_many(runs, "training") as one_more:
        assert said.comes_to("training: 0 of 2 runs done")
        runs[0].execute(None, listen, figures=False)
        one_more()
        assert said.comes_to("training: 1 of 2 runs done")


def test_a_line_is_not_said_twice(said):
    with every_second(lambda line: line.show("same")):
        time.sleep(2.3)
    assert said.now() == "same\n"


def test_a_training_whose_workers_have_no_place_says_that_it_waits(tmp_path, said):
    run = Run(STUDY, open_storage(tmp_path))
    driver = Lease.claim(run.path / "driver")
    with watching_run([run]):
        assert said.comes_to("point-diffusion: waiting for its workers to find a place and to start, 0 s so far")
        with run.claimed() as lease:
            Journal(run.path / "journal", lease).append(10, {"loss": 1.0})
            assert said.comes_to("10/40  loss 1")
        assert said.comes_to("10/40: waiting for its workers")
    driver.release()
