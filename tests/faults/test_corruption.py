"""A truncated file or a flipped bit anywhere in a run directory is noticed, and the plain same call mends it."""

import os
import shutil
import time
from collections import Counter

import pytest
from support.evidence import assert_same_run, dice, faults, replay

from cluster.files import read_json
from cluster.opening import open_run
from cluster.run import Run
from genlib import PointDiffusion

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STUDY = PointDiffusion.preset(
    "tiny", steps=40, validate_every=10, log_every=5, samples=50, sampling_steps=2, likelihood_points=4,
    likelihood_steps=1, bound_draws=2, width=4, points=50, batch_size=16,
)  # fmt: skip
BATCHES, CORRUPTIONS = 10, 1_000
LATER = 3_600


class Killed(Exception):
    """Stands in for a crash."""


def train_until(run, step):
    def listener(progress):
        if progress.step >= step:
            raise Killed

    with pytest.raises(Killed):
        run.train(listener=listener)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = Run(STUDY, tmp_path_factory.mktemp("undisturbed"))
    run.execute(figures=False)
    return run


@pytest.fixture(scope="module")
def originals(tmp_path_factory, undisturbed):
    """Storages to copy: a run that was interrupted twice, and the same one brought to its end."""
    half, finished = tmp_path_factory.mktemp("half") / "runs", tmp_path_factory.mktemp("finished") / "runs"
    for step in (15, 25):
        train_until(Run(STUDY, half), step)
    shutil.copytree(half, finished)
    Run(STUDY, finished).execute(figures=False)
    for path in [*half.rglob("*"), *finished.rglob("*")]:  # long ago: nobody's heart beats
        os.utime(path, (time.time() - LATER,) * 2)
    return [half, finished]


def corrupt(path, random):
    """Truncate it or flip a bit, as a failing disk does: its date stays. Says what was done."""
    content, dates = bytearray(path.read_bytes()), path.stat()
    if random.random() < 0.5:
        size = random.randrange(len(content))
        content, done = content[:size], f"truncated to {size} of {len(content)}"
    else:
        place, bit = random.randrange(len(content)), random.randrange(8)
        content[place] ^= 1 << bit
        done = f"bit {bit} of byte {place} flipped"
    path.write_bytes(content)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    return done


def kind_of(path, run):
    inside = path.relative_to(run)
    return (
        f"{inside.parts[0]}/{inside.name}" if len(inside.parts) > 1 and inside.parts[0] != "lease" else inside.parts[0]
    )


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_corruption_is_mended_by_the_same_call(batch, tmp_path, undisturbed, originals, record_property, capsys):
    failures, tried = [], Counter()
    began = time.monotonic()
    for number in range(batch, faults(CORRUPTIONS), BATCHES):
        random = dice("corruption", number)
        storage = tmp_path / str(number)
        shutil.copytree(random.choice(originals), storage)
        run = Run(STUDY, storage)
        files = sorted(path for path in run.path.rglob("*") if path.is_file() and path != run.path / "samples.npz")
        victim = random.choice(files)
        what = f"{victim.relative_to(storage)} {corrupt(victim, random)}"
        tried[kind_of(victim, run.path)] += 1
        try:
            run.execute(figures=False)
            assert_same_run(run.path, undisturbed.path, "after the call")
            read_json(run.path / "study.json")
            assert open_run(run.path).study == STUDY
            assert run.known((STUDY,), figures=False) is not None, "the mended run is not known to be whole"
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
            failures.append((kind_of(victim, run.path), f"corruption {number}: {what}: {wrong}"))
        capsys.readouterr()
        shutil.rmtree(storage)
    record_property("seconds", time.monotonic() - began)
    record_property("tried", dict(tried))
    kinds = Counter(kind for kind, _ in failures)
    if failures:
        shown = [replay(f"{len(failures)} of {tried.total()} {dict(kinds)}"), *(said for _, said in failures)]
        pytest.fail("\n".join(shown), pytrace=False)
