"""What must not be kept or shown: passwords in addresses, tokens, and whatever the environment calls a secret.

Every text that leaves a process goes through `scrubbed`: messages, commands, what other libraries say, tracebacks.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import unquote

from genlib import InputError

if TYPE_CHECKING:
    from genlib import Study

SECRET = re.compile(r"passw|_pwd$|_pass$|token$|secret|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
"""Names of settings whose values are secrets."""
PLACES = ("_PATH", "_FILE", "_DIR", "_URI", "_URL", "_MODE", "_NAME", "_ID")
"""Ends of names whose values only say where something is."""
SHORTEST = 6
"""Characters below which a value may be a common word, and is left alone; so are numbers, and files that are there."""

# A path library makes one slash of two; a port with a path behind it is no password.
AFTER = r"(://|(?<=http):/|(?<=https):/)"
USER_AND_PASSWORD = re.compile(AFTER + r"([^\s'\"@/?#:]*):(?!\d+(?:/|$))([^\s'\"]+)@(?=[^\s'\"@]*)")
USER_ALONE = re.compile(AFTER + r"[^\s'\"@/:?#]+@")
WORD = r"(?:passw(?:or)?d|passwd|pwd|token|secret|credentials?|api[_-]?key|access[_-]?key(?:[_-]id)?|signature|sig)"
QUERY = re.compile(rf"([?&;](?:[\w.\-]*[_.\-])?{WORD}=)[^\s'\"&;]+", re.IGNORECASE)
OPTION = re.compile(rf"((?<![\w\-])--?(?:[\w\-]*-)?{WORD}[= ])\S+", re.IGNORECASE)
BEARER = re.compile(r"(\b(?:Bearer|Basic) )[\w.\-+/=]{8,}")


def scrubbed(text: str) -> str:
    """A text as it may be kept and shown.

    Example:
        >>> scrubbed("no answer from https://me:pass/word@host:5000/x?token=abc, twice")
        'no answer from https://me:…@host:5000/x?token=…, twice'
    """
    for value in _values():
        text = text.replace(value, "…")
    text = USER_AND_PASSWORD.sub(r"\1\2:…@", text)
    text = USER_ALONE.sub(r"\1…@", text)
    for pattern in (QUERY, OPTION, BEARER):
        text = pattern.sub(r"\1…", text)
    return text


def holds_secret(text: str) -> bool:
    """Whether a text has a password of an address or of a query in it."""
    return any(pattern.search(text) for pattern in (USER_AND_PASSWORD, QUERY))


def refuse_secrets(study: Study[Any]) -> None:
    """Raise where a field of a study holds a password: fields are kept and shown."""
    for name, value in study.fields().items():
        if any(
            isinstance(text, str) and holds_secret(text) for text in (value if isinstance(value, tuple) else (value,))
        ):
            raise InputError(
                f"{type(study).__name__}.{name} holds a password, and fields are kept and shown: "
                "let the study read it from the environment."
            )


def scrubbed_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """A traceback as it may be kept and shown."""
    return scrubbed("".join(traceback.format_exception(kind, error, trace)))


class ScrubbedStream:
    """A stream that scrubs what it is given, for what libraries write by themselves."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, scrubbed."""
        self._stream.write(scrubbed(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts, scrubbed."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def scrub_streams() -> None:
    """Scrub all that this process writes from now on."""
    sys.stdout, sys.stderr = ScrubbedStream(sys.stdout), ScrubbedStream(sys.stderr)


def _values() -> list[str]:
    """The secrets that the environment holds, the longest first: one may be a part of another."""
    values = {
        value
        for name, value in os.environ.items()
        if SECRET.search(name)
        and not name.upper().endswith(PLACES)
        and len(value) >= SHORTEST
        and not value.isdigit()
        and not os.path.exists(value)
    }
    for address in (value for value in os.environ.values() if "://" in value):
        for match in USER_AND_PASSWORD.finditer(address):
            values |= {word for word in (match[3], unquote(match[3])) if len(word) >= SHORTEST}
    return sorted(values, key=len, reverse=True)
