"""MLflow as a mirror of run directories: what is shown there is read from the directories, and can be made anew.

A run is looked up by its key before one is created, and the journal keeps its own time stamps, so mirroring twice
changes nothing. Without `MLFLOW_TRACKING_URI` the store is a SQLite file inside the storage folder.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from cluster.journal import read_rows
from genlib import InputError

BATCH = 1_000
"""Metrics that MLflow takes in one call."""


def tracking_uri(storage: Path) -> str:
    """The server that the environment names, or the storage folder's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage.absolute() / 'mlflow.db'}"


def ui_command(storage: Path) -> str:
    """The line that opens the UI on what was mirrored."""
    return f"mlflow ui --backend-store-uri {tracking_uri(storage)}"


class Mirror:
    """One MLflow experiment, brought up to date from run directories."""

    def __init__(self, storage: Path, experiment: str) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)

        try:
            storage.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the storage {storage} cannot be written ({error.strerror}): give another.") from error
        uri = tracking_uri(storage)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(experiment)
            if known is None:
                artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (storage.absolute() / "artifacts").as_uri()
                self._experiment = self._client.create_experiment(experiment, artifact_location=artifacts)
            else:
                self._experiment = known.experiment_id
        except MlflowException as error:
            remedy = "start it, or unset MLFLOW_TRACKING_URI, and give the same command again"
            raise InputError(f"MLflow at {uri} does not answer as it should: {remedy}.") from error

    def parent(self, name: str, note: str) -> str:
        """The run that a sweep's runs hang under."""
        found = self._find(name)
        if found is None:
            tags = {"genlib.key": name, "mlflow.runName": name, "mlflow.note.content": note}
            found = self._client.create_run(self._experiment, tags=tags).info.run_id
        return found

    def show(self, path: Path, *, parent: str | None = None, name: str | None = None) -> str:
        """Bring one finished run directory to MLflow; returns the MLflow run's id."""
        from mlflow.entities import Metric, Param

        study = json.loads((path / "study.json").read_text())
        found = self._find(study["key"])
        if found is not None:
            return found
        rows = read_rows(path / "journal.jsonl")
        tags = {"genlib.key": study["key"], "genlib.study": study["study"], "mlflow.runName": name or study["key"]}
        if parent:
            tags["mlflow.parentRunId"] = parent
        began = int(rows[0]["time"] * 1000) if rows else None
        run = self._client.create_run(self._experiment, tags=tags, start_time=began).info.run_id
        params = [Param(key, str(value)) for key, value in study["fields"].items()]
        self._client.log_batch(run, params=params)
        metrics = [
            Metric(key, value, int(row["time"] * 1000), row["step"])
            for row in rows
            for key, value in row["metrics"].items()
        ]
        result = json.loads((path / "result.json").read_text()) if (path / "result.json").exists() else {}
        ended = int(rows[-1]["time"] * 1000) if rows else 0
        metrics += [
            Metric(key, value, ended, study["fields"]["steps"]) for key, value in result.get("metrics", {}).items()
        ]
        for first in range(0, len(metrics), BATCH):
            self._client.log_batch(run, metrics=metrics[first : first + BATCH])
        if result:
            self._client.log_artifacts(run, str(path / "evaluations" / result["evaluation"]))
        self._client.set_terminated(run, "FINISHED" if result else "FAILED", end_time=ended)
        return run

    def figure(self, run: str, figure: Any, name: str) -> None:
        """A picture of a sweep, under its parent run."""
        self._client.log_figure(run, figure, name)

    def finish(self, run: str) -> None:
        """A sweep's parent has ended."""
        self._client.set_terminated(run)

    def _find(self, key: str) -> str | None:
        found = self._client.search_runs([self._experiment], f"tags.`genlib.key` = '{key}'", max_results=1)
        return found[0].info.run_id if found else None
