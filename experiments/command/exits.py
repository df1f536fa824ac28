"""How every script ends: 0 done, 2 refused input, 1 failed run; one sentence for what a user can mend.

A script of a user's own makes its study and its sweep before any of our functions runs. Importing this module lets
a mistake there end in the same way, instead of in a traceback.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

from cluster.files import RunFailed, Stopped
from cluster.lease import Fenced
from cluster.secrets import scrubbed, scrubbed_traceback
from experiments.command.line import Line
from genlib import Diverged, InputError
from genlib.data.files import listening


@contextmanager
def exit_with_a_sentence() -> Iterator[None]:
    """Turn the errors that a user can mend into their sentence and an exit code; show downloads as they go."""
    try:
        with _showing_downloads():
            yield
    except InputError as error:
        _end(error)
    except (Fenced, Stopped) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; what has finished is kept.\n")
        sys.exit(130)
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        sys.exit(0)


def _end(error: InputError) -> NoReturn:
    text = scrubbed(str(error))
    sys.stderr.write(f"\r\033[K{text}\n" if sys.stderr.isatty() else f"{text}\n")
    sys.exit(1 if isinstance(error, (Diverged, RunFailed)) else 2)


def _end_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None, before: Any = sys.excepthook
) -> None:
    """End a script that raised outside of `exit_with_a_sentence`; other errors are shown whole, but for secrets."""
    if isinstance(error, InputError):
        _end(error)  # Python exits with the code of a SystemExit that is raised here
    if issubclass(kind, Exception):
        sys.stderr.write(scrubbed_traceback(kind, error, trace))
    else:
        before(kind, error, trace)


sys.excepthook = _end_uncaught
atexit.register(gc.freeze)  # a process that ends need not look for garbage first, which takes torch half a second


@contextmanager
def _showing_downloads() -> Iterator[None]:
    line = Line()

    def show(file: str, have: int, size: int) -> None:
        line.show(f"{file}: {have / 1e6:.1f} of {size / 1e6:.1f} MB")
        if have >= size:
            line.clear()

    with listening(show):
        yield
