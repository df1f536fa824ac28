"""SIGTERM and Ctrl-C: keep what there is, say how things stand in the run directories, and go.

A job that is stopped has three seconds. Python runs signal handlers between two instructions of the main thread, which
may be inside one long call; so the signal's number goes through a pipe to a thread, and that thread acts. It asks the
runs that train, in this process or in others, to save their states, and marks them when they have, or when time is up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from cluster.directory import has_writer, read_result
from cluster.files import Stopped, StorageFailed
from cluster.journal import last_row
from cluster.lease import Held, ask_to_stop, is_held_here
from cluster.run import Run
from genlib.checkpoint import checkpoints

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE = {"SIGTERM": 2.0, "SIGINT": 10.0}
"""Seconds that runs have to save their states, by signal."""


@contextmanager
def on_stop(settle: Callable[[str], str | None]) -> Iterator[None]:
    """While the block runs, a signal calls `settle` with its name and ends this process (128 + its number).

    Arguments:
        settle: returns where the same command will go on, if that can be said.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    arrived = threading.Event()

    def wait() -> None:
        number = os.read(reading, 1)
        if not number or number[0] == 0:
            return
        arrived.set()
        threading.Thread(target=end_at_once, name="stop at once", daemon=True).start()
        name = signal.Signals(number[0]).name
        where: str | None = None
        try:
            where = settle(name)
        finally:
            sys.stderr.write(f"\nstopped by {name}: the plain same command continues{f' {where}' if where else ''}.\n")
            sys.stderr.flush()
            os._exit(128 + number[0])

    def end_at_once() -> None:
        """A second signal waits for nothing."""
        number = os.read(reading, 1)
        if number and number[0]:
            os._exit(128 + number[0])

    watcher = threading.Thread(target=wait, name="stop", daemon=True)
    watcher.start()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    except Stopped:
        if arrived.is_set():
            watcher.join()  # which ends this process
        raise
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.write(writing, b"\0")
        watcher.join(1)
        os.close(writing)
        os.close(reading)


def stop_runs(runs: Sequence[Run], name: str) -> str | None:
    """Let runs that train save their states, mark all that have begun and not ended; returns where a lone one goes on.

    Arguments:
        runs: those that this process executes or drives; others' are none of its business.
        name: the signal's.
    """
    training = [run for run in runs if _trains(run)]
    for run in training:
        with suppress(OSError):
            ask_to_stop(run.path / "lease")
    began = time.monotonic()
    while any(has_writer(run.path) for run in training) and time.monotonic() - began < PATIENCE[name]:
        time.sleep(0.05)
    kill_unfinished(runs, f"stopped by {name}")
    if len(training) != 1:
        return None
    (run,) = training
    kept = checkpoints(run.path / "checkpoints")
    return f"from update {int(kept[-1].name.partition('-')[2]):,}" if kept else "from its start"


def held_here(runs: Iterable[Run]) -> list[Run]:
    """The runs that this very process writes."""
    return [run for run in runs if is_held_here(run.path / "lease")]


def kill_unfinished(runs: Sequence[Run], why: str) -> None:
    """Mark every run that has begun and not ended, whoever writes it: that process is thereby fenced."""
    for run in runs:
        if read_result(run.path).status in ("RUNNING", "KILLED"):
            with suppress(Held, StorageFailed, OSError):  # the others are marked all the same
                run.take_and_mark("KILLED", why)


def _trains(run: Run) -> bool:
    """Whether a living process trains the run; it may also measure it."""
    if read_result(run.path).status != "RUNNING":
        return False
    row = last_row(run.path / "journal")
    return row is None or row["step"] < run.study.steps
