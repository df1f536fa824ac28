"""Texts, and how they become tokens: *Alice's Adventures in Wonderland*, Shakespeare, your own file, or a grammar.

A text is split by position: the last part is held out. Tokenisers see the training part alone.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from genlib.data.files import Source, fetch
from genlib.data.text.grammar import sentences
from genlib.errors import InputError


def between(whole: bytes, first: bytes, last: bytes) -> bytes:
    r"""From a line to another, both kept, each line ended by a line feed; nothing where they are not there.

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
"""Texts that have a name; any other is a file."""


@cache
def text(name: str) -> str:
    """A text by its name (`alice`, `shakespeare`, `grammar`) or the path of a file.

    Raises:
        InputError: there is none, it is empty, or it is not UTF-8.
    """
    if name == "grammar":
        return sentences(2_000)
    path = fetch(SOURCES[name]) if name in SOURCES else Path(name).expanduser()
    try:
        found = path.read_bytes().decode()
    except OSError as error:
        known = ", ".join(NAMES)
        raise InputError(f"{path} cannot be read ({error.strerror}): give one of {known}, or a file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text (byte {error.start:,}): convert it first.") from error
    if not found.strip():
        raise InputError(f"{path} is empty: give a text.")
    return found


def checksums(name: str) -> dict[str, str]:
    """The checksum of a text, by its file; none of the grammar, which is no file."""
    if name == "grammar":
        return {}
    if name in SOURCES:
        return {SOURCES[name].path: f"md5:{SOURCES[name].md5}"}
    return {Path(name).name: f"md5:{hashlib.md5(text(name).encode()).hexdigest()}"}


def split(whole: str, held_out: float) -> tuple[str, str]:
    """The beginning to train on, the end to validate on.

    Example:
        >>> split("abcdefghij", 0.2)
        ('abcdefgh', 'ij')
    """
    end = len(whole) - round(len(whole) * held_out)
    return whole[:end], whole[end:]
