"""CIFAR-10's python batches: pickles, read without executing anything that a pickle can name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from genlib.errors import InputError

HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
"""Names that a batch may import: it is a dictionary of lists, strings and one array of bytes."""


class _Restricted(pickle.Unpickler):
    """An unpickler that finds nothing but what makes an array."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_batch(path: Path) -> tuple[UInt8[np.ndarray, "n 3 32 32"], Int64[np.ndarray, " n"]]:
    """Images and labels of one batch.

    Raises:
        InputError: the file is no batch, or asks for more than a batch may.
    """
    try:
        content = _Restricted(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        pixels, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"], np.int64)
        if pixels.dtype != np.uint8:
            raise ValueError(f"pixels of type {pixels.dtype}")
        return pixels.reshape(len(labels), 3, 32, 32), labels
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is no CIFAR-10 batch ({error}): remove it, and the next call fetches it.") from error
