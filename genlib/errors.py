"""The errors a user can mend. Scripts print their message and exit with 2; every other error is a bug."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave is not usable. The message says what was given, what is allowed, and what to do."""


class CheckpointError(InputError):
    """A checkpoint is damaged or belongs to another study."""


class CheckpointDamaged(CheckpointError):
    """A checkpoint is not what was written: an earlier one will do."""


class Diverged(InputError):
    """A loss or metric stopped being finite.

    `state` is the last good state (at most one validation interval old): save it, look at it, or train on from it.
    """

    def __init__(self, message: str, state: object) -> None:
        super().__init__(message)
        self.state = state

    def __reduce__(self) -> tuple[type[Diverged], tuple[str, None]]:
        return Diverged, (str(self), None)  # between processes the message travels; the state is on disk
