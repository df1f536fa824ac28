"""What a storage in a bucket costs: the same sweep in a folder and in a bucket, and how late lines arrive there.

    python experiments/bench/bucket.py [--repeats 3] [--storage s3://bucket/prefix] [--record]

Without --storage the bucket is on a server of moto's, on loopback, which answers in some three milliseconds; a cloud
takes ten times as long. Whole commands in turns, wall clock, without MLflow: the sweep, and the same command once more
on a machine that has no copy of what is there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from cluster.copies import located, place_of
from cluster.run import Run
from experiments.bench.service import CASES
from experiments.bench.timing import TimingOptions, scratch, show
from experiments.command.arguments import read
from experiments.command.exits import exit_with_a_sentence
from genlib import InputError, PointDiffusion

CASE = CASES["small"]
LONG = PointDiffusion(width=256, steps=4_000, log_every=10, validate_every=500)
"""A training of half a minute, for the lines that it writes."""


@dataclass(frozen=True)
class Options(TimingOptions):
    """How long to measure, and where."""

    repeats: int = 3
    """How often each command is timed."""
    storage: str = ""
    """A prefix of a bucket to measure in place of moto's."""
    only: str = ""
    """For use by the script itself: do the sweep, or the training, in --storage."""


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """A bucket on loopback, for as long as the block runs."""
    try:
        import boto3
    except ImportError as error:
        raise InputError("moto's server is not installed: pip install -e '.[dev]', or give --storage.") from error
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    os.environ |= {**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    with open(folder / "moto.txt", "w") as said:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)],
            stdout=said, stderr=said,
        )  # fmt: skip
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1").create_bucket(
            Bucket="runs"
        )
        yield "s3://runs/bench"
    finally:
        server.kill()
        server.wait()


def sweep(storage: str) -> None:
    """The sweep, as our scripts run it."""
    from experiments.command.options import Options as LaunchOptions
    from experiments.command.options import begin, end
    from tuning.engine import run_sweep
    from tuning.sweep import Placement, Sweep

    options = LaunchOptions(storage=located(storage))
    begin(options)
    asked = Sweep(name="bench", study=CASE.study, space=CASE.space, metric="validation/loss", seeds=CASE.seeds)
    run_sweep(asked, Placement(options.root))
    end(options)


def command(what: str, storage: str | Path, copies: Path) -> subprocess.Popen[bytes]:
    """This script in a process of its own, on a machine with such copies."""
    told = os.environ | {"GENLIB_COPIES": str(copies), "MLFLOW_TRACKING_URI": "none"}
    words = [sys.executable, __file__, "--only", what, "--storage", str(storage)]
    return subprocess.Popen(words, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def seconds(what: str, storage: str | Path, copies: Path) -> float:
    """Wall seconds of a command."""
    began = time.monotonic()
    if command(what, storage, copies).wait():
        raise RuntimeError(f"{what} in {storage} failed")
    return time.monotonic() - began


def ages(storage: str, copies: Path) -> list[float]:
    """While a run trains: how old the oldest line is that is not in the bucket, looked at five times a second."""
    os.environ["GENLIB_COPIES"] = str(copies)
    path = Run(LONG, storage).path
    place = place_of(path / "journal")
    assert place is not None
    seen, training = list[float](), command("train", storage, copies)
    while training.poll() is None:
        time.sleep(0.2)
        there = {name: one.size for name, one in place.bucket.listed(place.key).items()}
        carried = max((int(name.partition("~")[2]) + size for name, size in there.items()), default=0)
        for file in sorted((path / "journal").glob("*.jsonl")):
            written = file.read_bytes()
            left = written[carried : written.rfind(b"\n") + 1].splitlines()
            times = [json.loads(line)["time"] for line in left[:1]]
            seen.append(time.time() - times[0] if times else 0.0)
    return seen


def main(options: Options) -> None:
    """Measure and print."""
    if options.only == "train":
        Run(LONG, options.storage).execute(evaluation=False)
        return
    if options.only == "sweep":
        sweep(options.storage)
        return
    table = Table(title=f"{CASE.runs} runs of {CASE.study.steps} updates, {options.repeats} times in turns")
    for column in ("what", "seconds, median", "from", "to"):
        table.add_column(column)
    took: dict[str, list[float]] = {"in a folder": [], "in a bucket": [], "again, on a machine without a copy": []}
    with scratch() as name:
        folder = Path(name)
        with nullcontext(options.storage) if options.storage else moto(folder) as given:
            prefix = f"{given}/{uuid.uuid4().hex[:8]}"
            for turn in range(options.repeats):
                at = folder / str(turn)
                took["in a folder"].append(seconds("sweep", at / "runs", at))
                took["in a bucket"].append(seconds("sweep", f"{prefix}/{turn}", at / "one"))
                took["again, on a machine without a copy"].append(seconds("sweep", f"{prefix}/{turn}", at / "other"))
                sys.stderr.write(f"{', '.join(f'{what}: {times[-1]:.1f} s' for what, times in took.items())}\n")
            late = ages(f"{prefix}/late", folder / "late")
    for what, times in took.items():
        table.add_row(what, f"{np.median(times):.1f}", f"{min(times):.1f}", f"{max(times):.1f}")
    table.add_row("age of the oldest line that is not there", f"{np.median(late):.1f}", "0.0", f"{max(late):.1f}")
    show(table, "bucket", record=options.record)


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(read(Options, about=__doc__))
