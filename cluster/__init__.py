"""One run: where it is kept, how it is resumed, on how many workers it trains, what MLflow shows of it."""

import os
from typing import TYPE_CHECKING

# Ray and MLflow report on their users at every start, unless told otherwise: so they are, before anything imports them.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from cluster.directory import Result, read_result
from cluster.storage import find_run, open_storage, run_folders
from genlib.importing import given_later

if TYPE_CHECKING:
    from cluster.execution import execute
    from cluster.opening import open_run, open_study
    from cluster.run import Run
    from cluster.states import Origin
    from cluster.workers import Workers

__all__ = [
    "Origin",
    "Result",
    "Run",
    "Workers",
    "execute",
    "find_run",
    "open_run",
    "open_storage",
    "open_study",
    "read_result",
    "run_folders",
]

LATER = {
    "Origin": "cluster.states",
    "Run": "cluster.run",
    "Workers": "cluster.workers",
    "execute": "cluster.execution",
    "open_run": "cluster.opening",
    "open_study": "cluster.opening",
}
"""What needs torch is imported when it is used: to list runs takes none of it."""

if not TYPE_CHECKING:
    __getattr__, __dir__ = given_later("cluster", LATER)
