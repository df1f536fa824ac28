"""What is sent to other processes: a value, with the text of the users' own files that it may be made of.

Ray's workers import from this project and nothing else. A study of a user's own is therefore sent with its file's text,
which the worker imports before it unpacks the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.record import command, remember_command
from genlib.own import Source, install, sources


@dataclass(frozen=True)
class Parcel:
    """A value on its way."""

    files: tuple[Source, ...]
    command: str
    """The command line that a user gave."""
    content: bytes
    """The value, pickled."""


def pack(value: Any) -> Parcel:
    """Make a value ready to be sent."""
    from ray import cloudpickle

    return Parcel(tuple(sources()), command(), cloudpickle.dumps(value))


def unpack(parcel: Parcel) -> Any:
    """The value of a parcel that has arrived."""
    from ray import cloudpickle

    remember_command(parcel.command)
    for source in parcel.files:
        install(source)
    return cloudpickle.loads(parcel.content)
