"""Generative and self-supervised models as studies: what is trained, measured and drawn, and one loop that trains them.

Example:
    >>> from genlib import PointDiffusion, train
    >>> for progress in train(PointDiffusion.preset("tiny")):
    ...     last = progress.step
    >>> last
    20

Torch is imported at the first use of a name: who only handles errors or reads files goes without.
"""

from importlib import import_module as _import
from typing import TYPE_CHECKING

from genlib.importing import uncollected as _uncollected

if TYPE_CHECKING:
    from genlib.face import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        if not name.startswith("__") or name == "__all__":
            for place in ("genlib.errors", "genlib.face"):  # the second brings torch
                with _uncollected():
                    module = _import(place)
                if hasattr(module, name):
                    return globals().setdefault(name, getattr(module, name))
            if name in globals():  # a module of ours, which came with the face
                return globals()[name]
        raise AttributeError(f"module 'genlib' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})


__version__ = "0.8.1"
