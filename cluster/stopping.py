"""SIGTERM and Ctrl-C: say how things stand in the run directories, at once, and go.

A job that is stopped has three seconds. Python runs signal handlers between two instructions of the main thread, which
may be inside one long call; so the signal's number goes through a pipe to a thread, and that thread acts.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop(settle: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, a signal calls `settle` with its name and ends this process (128 + its number)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        number = os.read(reading, 1)
        if not number or number[0] == 0:
            return
        name = signal.Signals(number[0]).name
        try:
            settle(name)
            sys.stderr.write(f"\nstopped by {name}: the plain same command continues.\n")
            sys.stderr.flush()
        finally:
            os._exit(128 + number[0])

    watcher = threading.Thread(target=wait, name="stop", daemon=True)
    watcher.start()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.write(writing, b"\0")
        watcher.join(1)
        os.close(writing)
        os.close(reading)
