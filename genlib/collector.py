"""Python's collector of garbage, kept from looking for some among what stays.

It looks through all objects there are whenever many have been made. While torch is imported that is again and again,
for nothing: a fifth of a second of each process's start.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Collect nothing while the block imports, and never look at what it brought."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
