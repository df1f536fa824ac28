"""Members of a pack are runs like any other: killed, held, lost or stopped, each for itself."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from cluster.files import Stopped
from cluster.journal import read_rows, read_segments
from cluster.lease import Held, Lease, ask_to_stop
from cluster.packs import execute_pack
from cluster.run import Run
from cluster.storage import open_storage
from genlib import Diverged, SpiralDiffusion
from genlib.checkpoint import checkpoints

TINY = SpiralDiffusion.preset("tiny", steps=60, validate_every=20, log_every=5)
MEMBERS = [replace(TINY, seed=k % 2, learning_rate=rate) for k, rate in enumerate((1e-3, 2e-3, 3e-3, 4e-3))]


def rows(run):
    return [(row["step"], row["metrics"]) for row in read_rows(run.path / "journal")]


def assert_near(one, other):
    assert [step for step, _ in one] == [step for step, _ in other]
    for (_, ours), (_, theirs) in zip(one, other, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The members, each trained alone."""
    storage = tmp_path_factory.mktemp("alone")
    runs = [Run(study, storage) for study in MEMBERS]
    for run in runs:
        run.execute(figures=False)
    return [rows(run) for run in runs]


def test_each_has_its_directory_as_if_alone(tmp_path, undisturbed):
    runs, heard = [Run(study, tmp_path) for study in MEMBERS], []
    outcomes = execute_pack(
        runs, heard=lambda reports: [heard.append((run.key, p.step)) for run, p in reports.items()][:0]
    )
    for run, outcome, expected in zip(runs, outcomes, undisturbed, strict=True):
        assert outcome.error is None
        assert_near(rows(run), expected)
        result = run.result()
        assert result.status == "FINISHED"
        assert result.metrics == outcome.metrics[0]
        assert [path.name for path in checkpoints(run.path / "checkpoints")][-1] == "step-00000060"
        assert [step for key, step in heard if key == run.key] == [step for step, _ in expected]
    again = execute_pack(runs, heard=lambda reports: pytest.fail("they are done"))
    assert [outcome.metrics for outcome in again] == [outcome.metrics for outcome in outcomes]


WORK = """
import sys
from dataclasses import replace
from cluster.packs import execute_pack
from cluster.run import Run
from genlib import SpiralDiffusion
tiny = SpiralDiffusion.preset("tiny", steps=int(sys.argv[2]), validate_every=20, log_every=5)
members = [replace(tiny, seed=k % 2, learning_rate=rate) for k, rate in enumerate((1e-3, 2e-3, 3e-3, 4e-3))]
print("begun", flush=True)
runs = [Run(study, sys.argv[1]) for study in members]
execute_pack(runs, heard=lambda reports: print("heard", flush=True) or (), evaluation=False)
print("ended", flush=True)
"""


def killed_somewhere(storage, chance, steps=60):
    """Killed in the middle of something, up to eight reports after it began; whether there was anything left to do."""
    command = [sys.executable, "-c", WORK, str(storage), str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        for _ in range(chance.randrange(8)):
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        return "ended" not in process.stdout.read()


def test_killed_they_go_on_packed_otherwise_or_alone(tmp_path, undisturbed):
    chance = random.Random(0)
    was_killed = [killed_somewhere(tmp_path, chance) for _ in range(2)]
    assert any(was_killed)
    runs = [Run(study, tmp_path) for study in MEMBERS]
    runs[2].execute(evaluation=False)
    execute_pack([runs[3], runs[0]], evaluation=False)
    execute_pack(runs, evaluation=False)
    for run, expected in zip(runs, undisturbed, strict=True):
        assert run.result().status == "FINISHED"
        assert_near(rows(run), expected)


@pytest.mark.slow
def test_twenty_kills_at_random_leave_whole_journals_and_the_same_values(tmp_path):
    chance, steps = random.Random(1), 400
    members = [replace(study, steps=steps) for study in MEMBERS]
    runs = [Run(study, tmp_path / "killed") for study in members]
    for _ in range(20):
        assert killed_somewhere(tmp_path / "killed", chance, steps)
        for run in runs:
            there = [step for step, _ in rows(run)]
            assert there == list(range(5, 5 * len(there) + 1, 5))
    assert there[-1] >= 40
    execute_pack(runs, evaluation=False)
    for run in runs:
        alone = Run(run.study, tmp_path / "alone")
        alone.execute(evaluation=False)
        assert_near(rows(run), rows(alone))


def test_what_befalls_one_does_not_touch_the_others(tmp_path, undisturbed):
    lost = replace(TINY, learning_rate=1e12, seed=7)
    runs = [Run(study, tmp_path) for study in (MEMBERS[0], lost, MEMBERS[1], MEMBERS[2], MEMBERS[3])]
    taken = []

    def heard(reports):
        for run, progress in reports.items():
            if run is runs[2] and progress.step == 20:
                ask_to_stop(run.path / "lease")
                time.sleep(0.3)  # it looks now and then
            if run is runs[3] and progress.step == 30:
                taken.append(Lease.claim(run.path / "lease", anyhow=True))
        return ()

    outcomes = execute_pack(runs, heard=heard, evaluation=False)
    errors = [type(outcome.error) for outcome in outcomes]
    assert errors[1:3] == [Diverged, Stopped]
    assert [run.result().status for run in runs] == ["FINISHED", "FAILED", "KILLED", "RUNNING", "FINISHED"]
    assert "learning_rate (got 1e+12)" in runs[1].result().message
    assert rows(runs[3])[-1][0] == 30  # whoever took it over finds no later line
    taken[0].release()
    for run, expected in ((runs[0], undisturbed[0]), (runs[4], undisturbed[3])):
        assert_near(rows(run), expected)
    execute_pack([runs[2], runs[3]], evaluation=False)
    assert_near(rows(runs[2]), undisturbed[1])
    assert_near(rows(runs[3]), undisturbed[2])
    assert [segment.head["after"] for segment in read_segments(runs[3].path / "journal")] == [0, 30]


HOLD = """
import sys
from pathlib import Path
from cluster.lease import Lease
lease = Lease.claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_that_is_held_elsewhere_is_left_to_its_holder(tmp_path):
    runs = [Run(study, tmp_path) for study in MEMBERS[:2]]
    open_storage(tmp_path)
    command = [sys.executable, "-c", HOLD, str(runs[0].path / "lease")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        outcomes = execute_pack(runs, evaluation=False)
        holder.communicate()
    assert isinstance(outcomes[0].error, Held)
    assert [run.result().status for run in runs[1:]] == ["FINISHED"]


def test_who_is_ended_early_is_finished_with_what_it_has(tmp_path, undisturbed):
    runs = [Run(study, tmp_path) for study in MEMBERS]
    execute_pack(runs, heard=lambda reports: [run for run, p in reports.items() if run in runs[:2] and p.step == 20])
    assert [run.result().stopped_early for run in runs] == [20, 20, None, None]
    assert [run.result().status for run in runs] == ["FINISHED"] * 4
    assert rows(runs[0])[-1][0] == 20
    assert_near(rows(runs[3]), undisturbed[3])
