"""One run: where it is kept, how it is resumed, on how many workers it trains, what MLflow shows of it."""

import os

# Ray and MLflow report on their users at every start, unless told otherwise: so they are, before anything imports them.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from cluster.directory import Result, open_run, open_study, read_result
from cluster.execution import execute
from cluster.run import Run
from cluster.states import Origin
from cluster.storage import find_run, open_storage, run_folders
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
