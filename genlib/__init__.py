"""Generative and self-supervised models as studies: what is trained, measured and drawn, and one loop that trains them.

Example:
    >>> from genlib import PointDiffusion, train
    >>> for progress in train(PointDiffusion.preset("tiny")):
    ...     last = progress.step
    >>> last
    20

Torch is imported at the first use of a name: who only handles errors or reads files goes without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genlib.collector import importing

if TYPE_CHECKING:
    from genlib.face import *  # noqa: F403

__version__ = "0.8.0"


def __getattr__(name: str) -> Any:
    for place in ("genlib.errors", "genlib.face"):  # the second brings torch
        with importing():
            module = import_module(place)
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module 'genlib' has no attribute '{name}'")
