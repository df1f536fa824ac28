"""What is imported late, and without delay.

Torch takes a second to import, so a package gives the names that need it at their first use. Python's collector of
garbage would add a fifth of that: it looks through all objects there are whenever many have been made.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect nothing while the block imports; what there is then is old, and looked at seldom."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else somebody keeps things frozen
            gc.freeze()
            gc.unfreeze()  # both together: all is old now
        if enabled:
            gc.enable()


def given_later(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports some of its names when they are first used.

    Arguments:
        places: the modules of the names.
    """

    def attribute(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(places[name]), name)

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *places})

    return attribute, names
