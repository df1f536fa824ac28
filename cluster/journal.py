"""The journal of a run: every metric once, in order, a JSON line per report, synced before anyone hears of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genlib import History


class Journal:
    """An append-only file of `{"step", "time", "metrics"}` lines.

    A resumed run recomputes some steps; lines up to the last step on file are not written again. A half-written last
    line, left by a crash, is cut off when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step = 0
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                self.last_step = json.loads(line)["step"]
                whole += len(line)
            os.truncate(path, whole)

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line, unless it is on file already."""
        if step <= self.last_step or not metrics:
            return
        line = json.dumps({"step": step, "time": time.time(), "metrics": dict(metrics)})
        with open(self.path, "a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.last_step = step

    def rows(self) -> list[dict[str, Any]]:
        """Every line."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def history(self) -> History:
        """The lines as series."""
        return History([(row["step"], row["metrics"]) for row in self.rows()])
