"""A storage in a bucket: several machines work on it as on a folder that they share, and lose seconds at most."""

import random
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from support.bucket import KEYS, Machine, serving
from support.evidence import wait_for

import cluster.carrying as carrying
from cluster.bucket import Bucket, BucketFailed
from cluster.copies import located, shown
from cluster.journal import read_rows
from cluster.run import Run
from cluster.storage import open_storage, refuse_unusable_storage, storage_from
from genlib import InputError, PointDiffusion
from genlib.checkpoint import checkpoints, load_checkpoint

pytest.importorskip("moto")

FAST = """
import datetime, cluster.bucket, cluster.carrying, cluster.copies, cluster.holders, cluster.lease
cluster.bucket.TIMEOUT = cluster.bucket.QUICK = datetime.timedelta(seconds=2)
cluster.carrying.PAUSE = cluster.lease.BEAT = cluster.copies.LOOK = 0.2
cluster.holders.LAPSE = 4.0
"""
WORK = """
import sys, time, torch
torch.set_num_threads(1)
from cluster.files import Stopped
from cluster.lease import Fenced, Held
from cluster.run import Run
from genlib import PointDiffusion
study = PointDiffusion.preset("tiny", steps=400, log_every=10, validate_every=50)
def heard(progress):
    print(progress.step, flush=True)
    time.sleep(float(sys.argv[2]))
try:
    Run(study, sys.argv[1]).execute(listener=heard, evaluation=len(sys.argv) > 3, figures=False)
    print("ended", flush=True)
except (Fenced, Held, Stopped) as error:
    print(type(error).__name__, error, flush=True)
"""
STUDY = PointDiffusion.preset("tiny", steps=400, log_every=10, validate_every=50)
ANEW = """
import sys
from cluster.run import Run, start_anew
from genlib import PointDiffusion
start_anew(Run(PointDiffusion.preset("tiny", steps=400, log_every=10, validate_every=50), sys.argv[1]))
"""
READ = """
import sys
from cluster.journal import read_rows
from cluster.storage import run_folders, storage_from
from cluster.directory import read_results
for path, result in read_results(run_folders(storage_from(sys.argv[1]))).items():
    print(path.name, result.status, [row["step"] for row in read_rows(path / "journal")])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("bucket")) as server:
        yield server


@pytest.fixture
def storage(server, monkeypatch, tmp_path, request):
    """An empty bucket; this process is a machine of its own."""
    bucket = "runs-" + "".join(random.choices("abcdefghijklmnop", k=12))
    server.client.create_bucket(Bucket=bucket)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GENLIB_COPIES", str(tmp_path / "here"))
    return f"s3://{bucket}/some/where"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = Run(STUDY, tmp_path_factory.mktemp("folder"))
    run.execute(evaluation=False)
    return run


def machines(server, tmp_path, *names):
    return [Machine(name, tmp_path, server.environment, FAST) for name in names]


def copied(storage, machine=None):
    """The run's directory in this process's copy, or in another machine's."""
    run = Run(STUDY, storage)
    if machine is None:
        return run.path
    parts = run.path.parts
    return machine.copies.joinpath(*parts[parts.index("genlib-s3-copies") :])


def contents(path):
    rows = [(row["step"], row["metrics"]) for row in read_rows(path / "journal")]
    return rows, load_checkpoint(checkpoints(path / "checkpoints")[-1], STUDY).capture()["model"]


def assert_same(path, run):
    (rows, model), (expected, weights) = contents(path), contents(run.path)
    assert rows == expected
    assert all(torch.equal(model[name], weights[name]) for name in weights)


def reaches(process, step):
    """Read what a process says until it has come to an update."""
    for line in process.stdout:
        if line[0].isdigit() and int(line) >= step:
            return
    raise AssertionError("it ended before")


def test_addresses_and_their_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("GENLIB_COPIES", str(tmp_path))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "genlib-s3-copies" / "bucket" / "a" / "b"
    assert located("s3://bucket/a/b/") == located("s3:/bucket/a/b") == folder
    assert shown(folder / "run") == "s3://bucket/a/b/run"
    assert located(tmp_path) == tmp_path
    assert shown(tmp_path) == str(tmp_path)
    for wrong, said in (
        ("s3://Bucket_/a", "no name of a bucket"),
        ("s3://bucket/../a", "no prefix"),
        ("gs://bucket/a", "gs:// is not known"),
    ):
        with pytest.raises(InputError, match=said):
            located(wrong)


def test_one_of_many_puts_what_is_not_there(server, storage):
    bucket, won = Bucket(storage.split("/")[2]), []

    def put(content):
        if bucket.put_new("a/lease", content):
            won.append(content)

    threads = [threading.Thread(target=put, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert bucket.get("a/lease") == won[0]
    tag = bucket.put_new("a/lease", won[0])  # its answer was lost
    assert tag == bucket.listed("a")["lease"].tag
    assert bucket.put_over("a/lease", b"new", "another tag") is None
    assert bucket.put_over("a/lease", won[0], tag) == tag
    bucket.put("a/large", bytes(20 * 2**20))
    assert bucket.get("a/large", 20 * 2**20) == bytes(20 * 2**20)
    bucket.delete(["a/large"])
    bucket.put("ab/other", b"1")
    assert set(bucket.listed("a")) == {"lease"}
    bucket.move("a/lease", "b/lease")
    bucket.delete(["ab/other", "not/there"])
    assert server.keys(bucket.name) == {"b/lease": 1}
    with pytest.raises(FileNotFoundError):
        bucket.get("a/lease")


def test_what_a_bucket_refuses_is_said_in_a_sentence(server, storage, monkeypatch):
    with pytest.raises(InputError, match="there is no bucket 'not-there'"):
        refuse_unusable_storage(located("s3://not-there/runs"))
    server.client.put_object(Bucket=storage.split("/")[2], Key="some/where/holiday.jpg", Body=b"")
    with pytest.raises(InputError, match=f"{storage} cannot be written .*did not write"):
        open_storage(located(storage))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import cluster.copies

    cluster.copies._bucket.cache_clear()
    with pytest.raises(InputError, match=r"does not answer at http://127\.0\.0\.1:9"):
        storage_from(located(storage))
    cluster.copies._bucket.cache_clear()


class Careless(BaseHTTPRequestHandler):
    """A server that puts objects over others whatever it was asked."""

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_POST(self):
        self.do_PUT()

    def do_GET(self):
        is_list = "list-type" in self.path
        self.answer(200 if is_list else 404, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    def answer(self, status, content=b""):
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_a_bucket_without_conditional_writes_is_refused(storage, monkeypatch):
    import cluster.copies

    careless = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=careless.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{careless.server_address[1]}")
    cluster.copies._bucket.cache_clear()
    with pytest.raises(InputError, match="two writers could not be told apart"):
        open_storage(located(storage))
    careless.shutdown()
    careless.server_close()
    cluster.copies._bucket.cache_clear()


def test_a_run_on_one_machine_is_there_on_the_others(server, storage, tmp_path, undisturbed):
    one, other = machines(server, tmp_path, "one", "other")
    assert one.run(WORK, storage, 0, "evaluated").endswith("ended\n")
    assert other.run(WORK, storage, 0, "evaluated") == "ended\n"  # nothing was left to do
    files = [{p.relative_to(at): p.read_bytes() for p in at.rglob("*") if p.is_file() and p.name[0] != "."}
             for at in (copied(storage, one), copied(storage, other))]  # fmt: skip
    assert files[0] == files[1]
    assert_same(copied(storage, other), undisturbed)
    keys = server.keys(storage.split("/")[2])
    journals = [key for key in keys if "/journal/" in key]
    assert len(journals) == 1  # its lines were put as one in the end
    assert not [key for key in keys if "/." in key.replace("/.courses", "")]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_on_one_machine_it_goes_on_on_another(server, storage, tmp_path, undisturbed, seed):
    chance = random.Random(seed)
    both, last = machines(server, tmp_path, "one", "other"), None
    for _ in range(4):
        machine = chance.choice(both)
        with machine.begin(WORK, storage, 0.03) as process:
            for _ in range(chance.randrange(1, 14)):
                process.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
        last = machine
    end = next(machine for machine in both if machine is not last)
    assert end.run(WORK, storage, 0).endswith("ended\n")
    assert_same(copied(storage, end), undisturbed)
    storage_from(located(storage))  # a third machine, which only reads
    assert_same(copied(storage), undisturbed)


def test_killed_and_given_again_on_the_same_machine_it_loses_nothing(server, storage, tmp_path, undisturbed):
    (one,) = machines(server, tmp_path, "one")
    with one.begin("import cluster.carrying\ncluster.carrying._Carrier._carry = print\n" + WORK, storage, 0) as process:
        reaches(process, 120)
        process.kill()
    steps = [row["step"] for row in read_rows(copied(storage, one) / "journal")]
    assert not [key for key in server.keys(storage.split("/")[2]) if "/journal/" in key]
    with one.begin(WORK, storage, 0) as process:
        first = int(process.stdout.readline())
        assert process.stdout.read().endswith("ended\n")
    assert first > 100  # it went on from the checkpoint that only this machine had
    assert steps[-1] >= 120
    assert_same(copied(storage, one), undisturbed)


def test_a_living_writer_is_refused_a_frozen_one_replaced_and_it_finds_out(server, storage, tmp_path, undisturbed):
    one, other = machines(server, tmp_path, "one", "other")
    with one.begin(WORK, storage, 1) as process:
        reaches(process, 60)
        assert other.run(WORK, storage, 0).startswith("Held")
        process.send_signal(signal.SIGSTOP)
        try:
            assert other.run(WORK, storage, 0).endswith("ended\n")
        finally:
            process.send_signal(signal.SIGCONT)
        held = server.keys(storage.split("/")[2])
        assert "Fenced" in process.stdout.read()
    time.sleep(0.5)
    assert {k: v for k, v in server.keys(storage.split("/")[2]).items() if "/lease/" not in k} == {
        k: v for k, v in held.items() if "/lease/" not in k
    }
    assert_same(copied(storage, other), undisturbed)
    assert_same(copied(storage), undisturbed) if copied(storage).exists() else None


def test_a_bucket_that_is_away_stops_no_training(server, storage, tmp_path, undisturbed):
    one, other = machines(server, tmp_path, "one", "other")
    with one.begin(WORK, storage, 0.05) as process:
        reaches(process, 60)
        server.pause()
        try:
            reaches(process, 390)
            time.sleep(1)
        finally:
            server.go_on()
        assert process.stdout.read().endswith("ended\n")
    assert other.run(READ, storage).split()[1] == "FINISHED"
    assert_same(copied(storage, one), undisturbed)


@pytest.mark.slow
def test_one_that_ends_while_the_bucket_is_away_is_carried_by_the_next_command(server, storage, tmp_path):
    (one,) = machines(server, tmp_path, "one")
    away = "import cluster.carrying\ncluster.carrying.PATIENCE = 0.5\n"
    with one.begin(away + WORK + "\n", storage, 0.05) as process:
        reaches(process, 60)
        server.pause()
        try:
            process.stdout.read()
        finally:
            server.go_on()
    assert process.returncode == 1
    assert "KILLED" in machines(server, tmp_path, "other")[0].run(READ, storage)
    left = "from cluster.storage import *\nimport sys\ncarry_what_was_left(storage_from(sys.argv[1]))"
    one.run(left, storage)
    assert "FINISHED" in machines(server, tmp_path, "third")[0].run(READ, storage)


def test_who_is_asked_to_stop_from_another_machine_stops(server, storage, tmp_path):
    one, other = machines(server, tmp_path, "one", "other")
    ask = "import sys\nfrom cluster.storage import *\nfrom cluster.lease import ask_to_stop\n"
    ask += "ask_to_stop(next(run_folders(storage_from(sys.argv[1]))) / 'lease')"
    with one.begin(WORK, storage, 1) as process:
        reaches(process, 60)
        other.run(ask, storage)
        assert "Stopped" in process.stdout.read()
    assert "KILLED" in other.run(READ, storage)


def test_a_copy_that_was_deleted_is_made_anew(server, storage, tmp_path, undisturbed):
    import shutil

    (one,) = machines(server, tmp_path, "one")
    with one.begin(WORK, storage, 0.3) as process:
        reaches(process, 200)
        time.sleep(1)
        process.kill()
    shutil.rmtree(one.copies)
    with one.begin(WORK, storage, 0) as process:
        assert int(process.stdout.readline()) > 50
        assert process.stdout.read().endswith("ended\n")
    assert_same(copied(storage, one), undisturbed)


@pytest.mark.slow
def test_what_is_deleted_or_begun_anew_on_one_machine_is_so_on_the_others(server, storage, tmp_path):
    one, other = machines(server, tmp_path, "one", "other")
    one.run(WORK, storage, 0)
    other.run(READ, storage)
    one.run(ANEW, storage)
    assert other.run(READ, storage) == ""
    assert any("/.aside/aside-" in key for key in server.keys(storage.split("/")[2]))
    assert other.run(WORK, storage, 0).startswith("10\n")
    assert "FINISHED" in one.run(READ, storage)


@pytest.mark.slow
def test_begun_anew_on_another_machine_while_this_one_remembers_the_old(server, storage, tmp_path, undisturbed):
    """Epochs begin at 1 again: a claim of the old run is nobody's, whatever this machine remembers."""
    one, other = machines(server, tmp_path, "one", "other")
    for _ in range(3):  # the old run's epoch rises
        one.run(
            WORK.replace("heard(progress):", "heard(progress):\n    if progress.step > 50: raise SystemExit"),
            storage,
            0,
        )
    other.run(ANEW, storage)
    with other.begin(WORK, storage, 0.3) as process:
        reaches(process, 30)
        assert one.run(WORK, storage, 0).startswith("Held")
        assert process.stdout.read().endswith("ended\n")
    assert one.run(WORK, storage, 0) == "ended\n"
    assert_same(copied(storage, one), undisturbed)


def test_a_living_writer_whose_run_is_begun_anew_elsewhere_finds_out(server, storage, tmp_path):
    (one,) = machines(server, tmp_path, "one")
    with one.begin(WORK, storage, 0.5) as process:
        reaches(process, 30)
        bucket, folder = Bucket(storage.split("/")[2]), "some/where"
        bucket.delete([f"{folder}/{name}" for name in bucket.listed(folder) if "/lease/" in f"/{name}"])
        assert "Fenced" in process.stdout.read()


@pytest.mark.slow
def test_a_frozen_writer_of_a_run_that_was_begun_anew_finds_out(server, storage, tmp_path, undisturbed):
    one, other = machines(server, tmp_path, "one", "other")
    with one.begin(WORK, storage, 0.2) as process:
        reaches(process, 30)
        process.send_signal(signal.SIGSTOP)
        try:
            other.run(ANEW, storage)
            with other.begin(WORK, storage, 0.2) as new:
                reaches(new, 30)
                process.send_signal(signal.SIGCONT)
                assert "Fenced" in process.stdout.read()
                assert new.stdout.read().endswith("ended\n")
        finally:
            process.send_signal(signal.SIGCONT)
    assert_same(copied(storage, other), undisturbed)
    third = machines(server, tmp_path, "third")[0]
    third.run(READ, storage)
    assert_same(copied(storage, third), undisturbed)


@pytest.mark.slow
def test_who_fetches_for_long_lives(server, storage, tmp_path):
    one, other = machines(server, tmp_path, "one", "other")
    slow = "import cluster.carrying, time\nfetch = cluster.carrying.fetch\n"
    slow += "cluster.carrying.fetch = lambda unit, **more: (time.sleep(9), fetch(unit, **more))\n"
    with one.begin(slow + WORK, storage, 0) as process:
        lease = copied(storage, one) / "lease"
        assert wait_for(lambda: list(lease.glob("*.json")), 60)
        time.sleep(5)
        assert other.run(WORK, storage, 0).startswith("Held")
        assert process.stdout.read().endswith("ended\n")


def test_a_claim_that_fails_is_nobodys(server, storage, tmp_path, undisturbed):
    one, other = machines(server, tmp_path, "one", "other")
    fails = """
import sys, cluster.carrying
from cluster.bucket import BucketFailed
from cluster.files import StorageFailed
def fetch(unit, **more):
    raise BucketFailed("away")
cluster.carrying.fetch, kept = fetch, cluster.carrying.fetch
from cluster.run import Run
from genlib import PointDiffusion
run = Run(PointDiffusion.preset("tiny", steps=400, log_every=10, validate_every=50), sys.argv[1])
try:
    run.execute(evaluation=False)
except StorageFailed as error:
    print(error, flush=True)
cluster.carrying.fetch = kept
run.execute(evaluation=False)  # in the same process: its own lease does not stand in the way
print("ended", flush=True)
"""
    said = one.run(fails, storage)
    assert "away" in said
    assert said.endswith("ended\n")
    assert other.run(WORK, storage, 0) == "ended\n"
    assert_same(copied(storage, other), undisturbed)


def test_what_is_deleted_from_a_copy_at_rest_comes_back(server, storage, tmp_path, undisturbed):
    import shutil

    (one,) = machines(server, tmp_path, "one")
    one.run(WORK, storage, 0)
    before = server.keys(storage.split("/")[2])
    shutil.rmtree(copied(storage, one) / "checkpoints")
    assert one.run(WORK, storage, 0) == "ended\n"
    assert_same(copied(storage, one), undisturbed)
    assert {key for key in before if "/lease/" not in key} <= server.keys(storage.split("/")[2]).keys()


def test_a_claim_that_died_before_it_was_noted_loses_nothing(server, storage, tmp_path, undisturbed):
    (one,) = machines(server, tmp_path, "one")
    with one.begin("import cluster.carrying\ncluster.carrying._Carrier._carry = print\n" + WORK, storage, 0) as process:
        reaches(process, 120)
        process.kill()
    dies = "import os, cluster.copies\ncluster.copies.forget = lambda paths: os._exit(9)\n"
    with one.begin(dies + WORK, storage, 0) as process:
        assert process.stdout.read() == ""
    with one.begin(WORK, storage, 0) as process:
        assert int(process.stdout.readline()) > 100
        assert process.stdout.read().endswith("ended\n")
    assert_same(copied(storage, one), undisturbed)


def test_strange_objects_are_left_alone(server, storage, tmp_path):
    one, other = machines(server, tmp_path, "one", "other")
    one.run(WORK, storage, 0)
    for key in ("some/where/", "some/where/point-diffusion/", f"some/where/point-diffusion/{STUDY.key()}/notes~"):
        server.client.put_object(Bucket=storage.split("/")[2], Key=key, Body=b"")
    assert "FINISHED" in other.run(READ, storage)


def test_lines_are_put_as_one_now_and_then(server, storage, monkeypatch):
    monkeypatch.setattr(carrying, "SEGMENTS", 3)
    unit = open_storage(located(storage)) / "sweep" / "run"
    (unit / "journal").mkdir(parents=True)
    lines, counts = b"", []
    for number in range(9):
        lines += b"%d\n" % number
        (unit / "journal" / "00000001.jsonl").write_bytes(lines + b"half")
        carrying.carry(unit, lambda: None)
        counts.append(len([key for key in server.keys(storage.split("/")[2]) if "/journal/" in key]))
        if number in (1, 5, 8):  # another machine, at any moment
            carrying.fetch(other := unit.with_name("run"))
    assert max(counts) == 3
    assert other.joinpath("journal", "00000001.jsonl").read_bytes() == lines


def test_storage_failures_of_a_bucket_are_storage_failures():
    assert isinstance(BucketFailed("away"), OSError)
    assert BucketFailed("away").strerror == "away"


@pytest.mark.slow
def test_a_restless_bucket_leaves_no_wrong_copy(server, storage, tmp_path, undisturbed):
    """Readers fetch while a writer carries, replaces, merges and deletes: what they find is whole at any moment."""
    one, other = machines(server, tmp_path, "one", "other")
    code = "import cluster.carrying\ncluster.carrying.SEGMENTS = 4\n" + WORK
    with one.begin(code, storage, 0.4) as process:
        reaches(process, 20)
        seen = []
        while process.poll() is None and len(seen) < 12:
            said = other.run(READ, storage).split(" ", 2)
            seen.append(eval(said[2]) if len(said) == 3 else [])
        process.stdout.read()
    assert seen == sorted(seen, key=len)
    full = [row["step"] for row in read_rows(undisturbed.path / "journal")]
    assert all(steps == full[: len(steps)] for steps in seen)
    assert wait_for(lambda: process.poll() == 0, 30)
