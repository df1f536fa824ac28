"""What the machine did while a run ran: processor, memory, GPU, in lines of their own beside the journal.

These numbers differ when a run is repeated, so they are no part of the journal, whose metrics do not.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import psutil

from cluster.files import sealed

EVERY = 10.0
"""Seconds between lines."""


class SystemLog:
    """Writes lines about the machine, each when the last one is old enough."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the clock
        self._last = time.monotonic()

    def look(self) -> None:
        """Write a line if one is due. Nothing depends on it, so a storage that refuses it is passed over."""
        if time.monotonic() - self._last < EVERY:
            return
        self._last = time.monotonic()
        memory = self._process.memory_info().rss / 2**20
        metrics = {
            "system/process_cpu_percent": self._process.cpu_percent(),
            "system/process_memory_mib": memory,
            "system/machine_cpu_percent": _machine_cpu(int(time.monotonic() / EVERY)),
            "system/machine_memory_percent": psutil.virtual_memory().percent,
            **_gpu(),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a") as file:
                file.write(sealed({"time": time.time(), "metrics": metrics}) + "\n")
        except OSError:
            return


@lru_cache(maxsize=1)
def _machine_cpu(_now: int) -> float:
    """Since the last time somebody asked; a process may write for many runs, which then share the answer."""
    return psutil.cpu_percent()


def _gpu() -> dict[str, float]:
    import torch

    if not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "system/gpu_memory_mib": (total - free) / 2**20,
        "system/gpu_memory_of_process_mib": torch.cuda.memory_reserved() / 2**20,
    }
