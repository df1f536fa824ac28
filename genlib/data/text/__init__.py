"""Texts, and how they become tokens: *Alice's Adventures in Wonderland*, Shakespeare, your own file, or a grammar.

A text is split by position: the last part is held out. Tokenisers see the training part alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from genlib.data.files import Source, fetch
from genlib.data.text.grammar import sentences
from genlib.errors import InputError


def between(whole: bytes, first: bytes, last: bytes) -> bytes:
    r"""The lines from `first` to `last`, both kept, each ended by a line feed; nothing where one is missing.

    Example:
        >>> between(b"licence\r\nA BOOK\r\nis read\r\nTHE END\r\nlicence", b"A BOOK", b"THE END")
        b'A BOOK\nis read\nTHE END\n'
    """
    lines = whole.replace(b"\r\n", b"\n").split(b"\n")
    if first not in lines or last not in lines:
        return b""
    return b"\n".join(lines[lines.index(first) : lines.index(last) + 1]) + b"\n"


ALICE = Source(
    "alice.txt",
    144_431,
    "4e2149ba9a25c4ab0037f5859f86191c",
    ("https://raw.githubusercontent.com/GITenberg/Alice-s-Adventures-in-Wonderland_11/master/11.txt",),
    cut=lambda whole: between(whole, b"ALICE'S ADVENTURES IN WONDERLAND", b"              THE END"),
)
SHAKESPEARE = Source(
    "tinyshakespeare/input.txt",
    1_115_394,
    "6fb458f1232090904fb40fe944165e91",
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
)
SOURCES = {"alice": ALICE, "shakespeare": SHAKESPEARE}
NAMES = (*SOURCES, "grammar")
"""Names of the texts that have one; any other name is a file's path."""


@dataclass(frozen=True)
class Text:
    """A text by its name (`alice`, `shakespeare`, `grammar`) or the path of a file; its end is held out.

    The text is read when its content is first asked for.

    Raises:
        InputError: there is no such text, it is empty, or it is not UTF-8.
    """

    name: str
    share: float
    """Share of the text, at its end, that is held out."""

    @cached_property
    def whole(self) -> str:
        """The whole text."""
        if self.name == "grammar":
            return sentences(2_000)
        return _read(fetch(SOURCES[self.name]) if self.name in SOURCES else Path(self.name).expanduser())

    @cached_property
    def _parts(self) -> tuple[str, str]:
        return split(self.whole, self.share)

    @property
    def train(self) -> str:
        """The beginning of the text, to train on."""
        return self._parts[0]

    @property
    def held_out(self) -> str:
        """The end of the text, to validate on."""
        return self._parts[1]

    @property
    def checksums(self) -> dict[str, str]:
        """The checksum of the text's file, by name; empty for the grammar, which has no file."""
        if self.name == "grammar":
            return {}
        if self.name in SOURCES:
            return {SOURCES[self.name].path: f"md5:{SOURCES[self.name].md5}"}
        return {Path(self.name).name: f"md5:{hashlib.md5(self.whole.encode()).hexdigest()}"}


@cache
def text(name: str, held_out: float = 0.1) -> Text:
    """A text by its name or file; read at most once per process."""
    return Text(name, held_out)


def split(whole: str, held_out: float) -> tuple[str, str]:
    """The beginning of a text to train on, and its end to validate on.

    Example:
        >>> split("abcdefghij", 0.2)
        ('abcdefgh', 'ij')
    """
    end = len(whole) - round(len(whole) * held_out)
    return whole[:end], whole[end:]


def _read(path: Path) -> str:
    try:
        content = path.read_bytes().decode()
    except OSError as error:
        known = ", ".join(NAMES)
        raise InputError(f"{path} cannot be read ({error.strerror}): give one of {known}, or a file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text (byte {error.start:,}): convert it first.") from error
    if not content.strip():
        raise InputError(f"{path} is empty: give a text.")
    return content
