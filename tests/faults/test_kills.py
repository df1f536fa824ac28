"""Whoever is killed, whenever: the plain same command ends in the undisturbed run's bits, and MLflow shows it once."""

import json
import time
from contextlib import contextmanager, suppress

import psutil
import pytest
from support.evidence import (
    assert_same_run,
    dice,
    faults,
    kill,
    mirror_pid,
    mirror_said,
    mlflow_equals_journal,
    mlflow_runs,
    replay,
    storage_with_its_mirror,
    wait_for,
)
from support.mlflow_server import server_in
from support.scripts import ROOT, finish, launch

from cluster.directory import read_result
from cluster.files import read_json
from cluster.journal import last_row
from cluster.run import Run
from genlib import PointDiffusion

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TRAIN, MIRROR = ROOT / "experiments" / "train.py", ROOT / "experiments" / "mirror.py"
FIELDS = {
    "steps": 400, "validate_every": 20, "log_every": 5, "samples": 100, "likelihood_points": 20, "width": 128,
    "batch_size": 1_000,
}  # fmt: skip
"""Some seconds of training, so that most kills fall into it."""


def study(seed, **fields):
    return PointDiffusion.preset("tiny", seed=seed, **(FIELDS | fields))


def command(seed, storage, *more, **fields):
    given = [f"--{name.replace('_', '-')}={value}" for name, value in (FIELDS | fields).items()]
    return ["point-diffusion", "--preset", "tiny", f"--seed={seed}", *given, "--storage", storage, *more]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run of a study, in a storage that nothing happens to."""
    storage = tmp_path_factory.mktemp("undisturbed")

    def of(study):
        run = Run(study, storage)
        run.execute(figures=False)
        return run.path

    return of


# -- the driver and the mirror -----------------------------------------------------------------------------------------

KILLS, STORAGES = 80, 4
PLACES = {"starting": 1, "training": 6, "evaluating": 2, "mirroring": 2}
"""Where kills fall, and how often."""


def wait_until_its_turn(place, driver, run, random):
    """Return at a random moment of that part of a run; at once where the run is past it, or over."""
    row = last_row(run.path / "journal")
    begun = row["step"] if row else 0
    here = random.randrange(begun, run.study.steps + 1)

    def there():
        if driver.poll() is not None:
            return True
        if place == "mirroring":
            return run.result().status == "FINISHED"
        row = last_row(run.path / "journal")
        step = row["step"] if row else 0
        return step >= run.study.steps if place == "evaluating" else step >= here

    pause = {"starting": 4.0, "training": 0.05, "evaluating": 3.0, "mirroring": 8.0}[place] * random.random()
    if place != "starting":
        wait_for(there, 60, step=0.002)
    time.sleep(pause)


@pytest.mark.parametrize("number", range(STORAGES))
def test_a_killed_driver_or_mirror_leaves_no_trace(number, tmp_path, undisturbed, record_property):
    random, said = dice("kills", number), replay("storage", number)
    seed, killed, began = 100 * number, {"driver": 0, "mirror": 0}, time.monotonic()
    log, finished = tmp_path / "driver.txt", []
    with storage_with_its_mirror(tmp_path / "runs") as storage:
        driver = None
        while sum(killed.values()) < max(1, faults(KILLS) // STORAGES):
            run = Run(study(seed), storage)
            if driver is None:
                driver = launch(TRAIN, *command(seed, storage), said=log)
            victim = random.choices(["driver", "mirror"], [2, 1])[0]
            if victim == "driver":
                place = random.choices(list(PLACES), list(PLACES.values()))[0]
                wait_until_its_turn(place, driver, run, random)
            else:
                wait_for(lambda: mirror_pid(storage) or driver.poll() is not None, 20)  # noqa: B023
                time.sleep(6 * random.random())
            if driver.poll() is not None:
                assert driver.returncode == 0, (
                    f"{said}: the driver ended with {driver.returncode}: {log.read_text()[-2_000:]}"
                )
                finished.append(seed)
                seed, driver = seed + 1, None
            elif victim == "mirror":
                if mirror := mirror_pid(storage):
                    kill(mirror)
                    killed["mirror"] += 1
            else:
                kill(driver)
                killed["driver"] += 1
                driver = None
        if driver:
            driver.kill()
            driver.wait()
        disturbed = time.monotonic() - began
        again = time.monotonic()
        done = finish(TRAIN, *command(seed, storage, "--json"))
        recovered = time.monotonic() - again
        assert done.returncode == 0, f"{said}: {done.stderr[-2_000:]}"
        (told,) = json.loads(done.stdout.splitlines()[-1])["runs"]
        assert told["status"] == "FINISHED"
        brought = finish(MIRROR, "--storage", storage, "--minutes", 3)
        assert brought.returncode == 0, f"{said}: {brought.stderr[-2_000:]} {mirror_said(storage)}"
        for one in [*finished, seed]:
            assert_same_run(Run(study(one), storage).path, undisturbed(study(one)), f"{said}, seed {one}")
        mlflow_equals_journal(storage, f"sqlite:///{storage / 'mlflow.db'}", said)
    record_property("kills", killed)
    record_property("runs", len(finished) + 1)
    record_property("seconds", {"disturbed": disturbed, "recovered": recovered})
    record_property("driver said", log.read_text()[-500:])


# -- the MLflow server -------------------------------------------------------------------------------------------------


def test_a_killed_mlflow_server_is_not_noticed_by_training(tmp_path, undisturbed, record_property):
    random, said = dice("server"), replay("server")
    steps = 12_000  # long enough for all of it
    fields = {"steps": steps, "validate_every": 500}
    with server_in(tmp_path) as server, storage_with_its_mirror(tmp_path / "runs") as storage:
        server.start()
        server.wait()
        run = Run(study(0, **fields), storage)
        driver = launch(
            TRAIN, *command(0, storage, **fields), said=tmp_path / "driver.txt", MLFLOW_TRACKING_URI=server.uri
        )
        kills, during = 0, 0
        assert wait_for(lambda: driver.poll() is not None or last_row(run.path / "journal"), 120)
        while kills < faults(5):
            time.sleep(4 * random.random())
            server.kill()
            kills += 1
            during += driver.poll() is None and run.result().status == "RUNNING"
            time.sleep(2 * random.random())
            server.start()
            if random.random() < 0.7:  # else it is killed while it starts
                server.wait()
        server.wait()
        code = driver.wait(400)
        assert code == 0, f"{said}: {(tmp_path / 'driver.txt').read_text()[-2_000:]}"
        brought = finish(MIRROR, "--storage", storage, "--minutes", 3, MLFLOW_TRACKING_URI=server.uri)
        assert brought.returncode == 0, f"{said}: {brought.stderr[-2_000:]} {mirror_said(storage)}"
        assert_same_run(run.path, undisturbed(study(0, **fields)), said)
        mlflow_equals_journal(storage, server.uri, said)
    record_property("kills", {"all": kills, "while training": during})


def test_an_mlflow_server_that_comes_late_is_shown_everything(tmp_path, undisturbed):
    said = replay("late server")
    with server_in(tmp_path) as server, storage_with_its_mirror(tmp_path / "runs") as storage:
        for seed in (0, 1):
            done = finish(TRAIN, *command(seed, storage, "--json"), MLFLOW_TRACKING_URI=server.uri)
            assert done.returncode == 0, done.stderr
            assert "does not answer" in done.stderr
            assert "Traceback" not in done.stderr
        absent = finish(MIRROR, "--storage", storage, MLFLOW_TRACKING_URI=server.uri)
        assert absent.returncode != 0
        assert "does not answer" in absent.stderr
        server.start()
        server.wait()
        brought = finish(MIRROR, "--storage", storage, "--minutes", 3, MLFLOW_TRACKING_URI=server.uri)
        assert brought.returncode == 0, f"{said}: {brought.stderr[-2_000:]} {mirror_said(storage)}"
        for seed in (0, 1):
            assert_same_run(Run(study(seed), storage).path, undisturbed(study(seed)), said)
        assert len(mlflow_runs(server.uri)[1]) == 2
        mlflow_equals_journal(storage, server.uri, said)


# -- Ray's workers, and the driver of a sweep --------------------------------------------------------------------------


def descendants(process):
    """Every process that came of one of ours, Ray's among them."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


def train_workers(driver):
    """Ray Train's workers of a driver."""
    found = []
    for process in descendants(driver):
        with suppress(psutil.Error):
            if any("ray::" in word and "TrainWorker" in word for word in process.cmdline()[:1]):
                found.append(process)
    return found


@contextmanager
def what_is_left_of():
    """A list of processes; those that still live when the block ends are ended."""
    started = []
    try:
        yield started
    finally:
        for process in started:
            kill(process)


def test_a_killed_train_worker_comes_back_by_itself(tmp_path, record_property):
    random, said = dice("workers"), replay("workers")
    fields = {"steps": 1_200, "validate_every": 40, "log_every": 10}
    one = study(0, **fields)
    with (
        storage_with_its_mirror(tmp_path / "undisturbed") as calm,
        storage_with_its_mirror(tmp_path / "runs") as storage,
        what_is_left_of() as started,
    ):
        done = finish(TRAIN, *command(0, calm, "--workers=2", "--json", **fields))
        assert done.returncode == 0, done.stderr[-2_000:]
        run, kills, waited = Run(one, storage), 0, []
        driver = launch(TRAIN, *command(0, storage, "--workers=2", "--json", **fields), said=tmp_path / "driver.txt")
        while kills < faults(5):
            row = last_row(run.path / "journal")
            goal = (row["step"] if row else 0) + random.randrange(10, 150)
            began = time.monotonic()

            def far_enough(goal=goal):
                row = last_row(run.path / "journal")
                return driver.poll() is not None or (row is not None and row["step"] >= min(goal, one.steps - 10))

            assert wait_for(far_enough, 240), (
                f"{said}: no progress to {goal}: {(tmp_path / 'driver.txt').read_text()[-2_000:]}"
            )
            waited.append(time.monotonic() - began)
            assert driver.poll() is None, (
                f"{said}: over after {kills} kills: {(tmp_path / 'driver.txt').read_text()[-2_000:]}"
            )
            started += descendants(driver)
            workers = train_workers(driver)
            assert workers, f"{said}: no workers among {[p.name() for p in descendants(driver)]}"
            kill(random.choice(workers))
            kills += 1
        code = driver.wait(400)
        assert code == 0, f"{said}: {(tmp_path / 'driver.txt').read_text()[-2_000:]}"
        brought = finish(MIRROR, "--storage", storage, "--minutes", 3)
        assert brought.returncode == 0, f"{said}: {brought.stderr[-2_000:]} {mirror_said(storage)}"
        assert_same_run(run.path, Run(one, calm).path, said)
        mlflow_equals_journal(storage, f"sqlite:///{storage / 'mlflow.db'}", said)
    record_property("kills", kills)
    record_property("seconds to the next kill, the first from the start", waited)


SWEEP = """
from experiments.command.sweeps import sweep_script
from genlib import PointDiffusion
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="killed",
    study=PointDiffusion.preset("tiny", width=128, batch_size=1_000, validate_every=20, log_every=5, samples=100),
    space={"schedule": ["exp3", "geometric"], "steps": [300, 600], "sampling_steps": [2, 4]},
    metric="sliced_wasserstein",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="sampling_steps", by="schedule")
"""


def test_a_killed_driver_of_a_sweep_leaves_no_trace(tmp_path, record_property):
    random, said, log = dice("sweep"), replay("sweep"), tmp_path / "driver.txt"
    script = tmp_path / "sweep_killed.py"
    script.write_text(SWEEP)
    path = {"PYTHONPATH": str(ROOT)}
    with storage_with_its_mirror(tmp_path / "runs") as storage, what_is_left_of() as started:
        kills = unfinished = 0
        while kills < faults(5):
            driver = launch(script, "--storage", storage, said=log, **path)
            begun = time.monotonic()
            folder = storage / "killed"
            assert wait_for(lambda: driver.poll() is not None or something_runs(folder), 180), log.read_text()[-2_000:]  # noqa: B023
            time.sleep(6 * random.random())
            started += descendants(driver)
            if driver.poll() is not None:
                assert driver.returncode == 0, f"{said}: {log.read_text()[-2_000:]}"
                break
            unfinished += read_json(folder / "sweep.json")["status"] != "FINISHED"
            kill(psutil.Process(driver.pid))
            driver.wait()
            kills += 1
            record_property(f"kill {kills} after", time.monotonic() - begun)
            time.sleep(3 * random.random())
        began = time.monotonic()
        done = finish(script, "--storage", storage, "--json", **path)
        record_property("recovered in", time.monotonic() - began)
        assert done.returncode == 0, f"{said}: {done.stderr[-3_000:]}"
        told = json.loads(done.stdout.splitlines()[-1])["runs"]
        assert [run["status"] for run in told] == ["FINISHED"] * 4
        brought = finish(MIRROR, "--storage", storage, "--minutes", 3)
        assert brought.returncode == 0, f"{said}: {brought.stderr[-2_000:]} {mirror_said(storage)}"
        for schedule in ("exp3", "geometric"):
            for steps in (300, 600):
                fields = {"width": 128, "batch_size": 1_000, "validate_every": 20, "log_every": 5, "samples": 100}
                looks = [
                    PointDiffusion.preset("tiny", schedule=schedule, steps=steps, sampling_steps=sampling, **fields)
                    for sampling in (2, 4)
                ]
                calm = Run(looks[0], tmp_path / "undisturbed", sweep="killed")
                calm.execute(looks=looks, figures=False)
                assert_same_run(Run(looks[0], storage, sweep="killed").path, calm.path, f"{said}: {schedule} {steps}")
        mlflow_equals_journal(storage, f"sqlite:///{storage / 'mlflow.db'}", said)
        assert len(mlflow_runs(f"sqlite:///{storage / 'mlflow.db'}")[1]) == 1 + 4 + 4  # the sweep, runs, second looks
    record_property("kills", {"all": kills, "before its end": unfinished})


def something_runs(folder):
    """Whether a run of a sweep that has not finished has a living writer."""
    return any(read_result(path.parent).status == "RUNNING" for path in folder.glob("*/study.json"))
