"""The journal of a run: every metric once, in order, a JSON line per report, synced before anyone hears of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genlib import History, InputError


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a journal. A half-written last line, of a crash or of this moment, does not count."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            row = json.loads(line)
            _ = row["step"], row["time"], row["metrics"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"the journal {path} is damaged in line {number}: move the run aside and start it anew."
            ) from error
        rows.append(row)
    return rows


def read_history(path: Path) -> History:
    """A journal as series."""
    return History([(row["step"], row["metrics"]) for row in read_rows(path)])


class Journal:
    """The writer. Lines up to the last step on file are not written again: a resumed run recomputes some steps."""

    def __init__(self, path: Path) -> None:
        rows = read_rows(path)
        self.path = path
        self.last_step = rows[-1]["step"] if rows else 0
        if path.exists():
            text = path.read_bytes()
            os.truncate(path, text.rfind(b"\n") + 1)

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
