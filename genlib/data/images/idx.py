"""The idx format of MNIST and its kin: a header of big-endian numbers, then bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from genlib.errors import InputError

BYTES = 0x08
"""The code of unsigned bytes, the only type these data sets use."""


def read_idx(path: Path) -> UInt8[np.ndarray, ...]:
    """The array of a gzipped idx file.

    Raises:
        InputError: the file is no idx file, or is cut short.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no whole gzip file ({error}): remove it, and the next call fetches it.") from error
    zeros, kind, dimensions = struct.unpack_from(">HBB", content) if len(content) >= 4 else (1, 0, 0)
    start = 4 + 4 * dimensions
    if zeros != 0 or kind != BYTES or len(content) < start:
        raise InputError(f"{path} is no idx file of bytes: remove it, and the next call fetches it.")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path} holds {len(content) - start:,} bytes of data where its header says {math.prod(shape):,}: "
            "remove it, and the next call fetches it."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
