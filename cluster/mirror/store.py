"""MLflow itself. Everything here may be done twice, or be cut off and done again, without harm."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import sqlite3
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

BATCH = 1_000
"""Number of metrics in one call: the most that MLflow takes."""
LONGEST = 6_000
"""Number of characters in a parameter: the most that MLflow takes."""
SQLITE = "sqlite:///"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment of trained models, not of conversations: the UI opens on runs and charts."""
KEY = "genlib.run"
"""The tag by which a run is found again."""


class Row(NamedTuple):
    """One number: its name, its value, the time it was measured, in milliseconds, and its step."""

    name: str
    value: float
    milliseconds: int
    step: int


class Store:
    """One MLflow, through its client."""

    def __init__(self, uri: str, artifacts: str | None) -> None:
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        warnings.simplefilter("ignore")
        import mlflow

        for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.ERROR)

        if uri.startswith(SQLITE):
            _make_whole(Path(uri.removeprefix(SQLITE)), artifacts)
        _forget_addresses()
        mlflow.set_tracking_uri(uri)
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self._artifacts, self._answers_may_be_lost = artifacts, not uri.startswith(SQLITE)
        self._experiments: dict[str, str] = {}
        self._there: dict[str, dict[str, str]] = {}
        """The runs of each experiment that has been looked at: key → id."""
        self._tagged: dict[str, set[str]] = {}
        """The names of the tags of runs that this process has made."""

    def experiment(self, name: str) -> str:
        """The experiment's id; made if it is not there."""
        if name not in self._experiments:
            from mlflow.exceptions import MlflowException

            existing = self.client.get_experiment_by_name(name)
            if existing is None:
                try:
                    self.client.create_experiment(name, artifact_location=self._artifacts, tags=KIND)
                except MlflowException:  # its answer was lost, or another mirror was first
                    if self.client.get_experiment_by_name(name) is None:
                        raise
                existing = self.client.get_experiment_by_name(name)
            if existing is None:
                raise RuntimeError(f"MLflow has made the experiment {name} and does not find it")
            if existing.lifecycle_stage == "deleted":
                self.client.restore_experiment(existing.experiment_id)
            self._experiments[name] = existing.experiment_id
        return self._experiments[name]

    def run(
        self,
        experiment: str,
        key: str,
        *,
        name: str,
        began: int,
        parent: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> str:
        """The run of this key, with these tags: the one that is there, or a new one. Of several, the earliest stays."""
        if experiment not in self._there:
            self._there[experiment] = self.keys(experiment)
        there, words = self._there[experiment], _words(tags or {})
        if key in there:
            self.tags(there[key], words)
            return there[key]
        words |= {KEY: key, "mlflow.runName": name} | ({"mlflow.parentRunId": parent} if parent else {})
        made = self.client.create_run(self.experiment(experiment), start_time=began, tags=words).info.run_id
        run = self.find(experiment, key) if self._answers_may_be_lost else made
        if run is None:
            raise RuntimeError(f"MLflow has made the run {key} and does not find it")
        there[key] = run
        if run == made:
            self._tagged[run] = set(words)
        return run

    def find(self, experiment: str, key: str) -> str | None:
        """The run of this key, if there is one; a second one, born of a lost answer, is deleted."""
        page = self.client.search_runs([self.experiment(experiment)], f"tags.`{KEY}` = '{key}'", max_results=100)
        runs = sorted(page, key=lambda run: (run.info.start_time, run.info.run_id))
        for extra in runs[1:]:
            self.client.delete_run(extra.info.run_id)
        return runs[0].info.run_id if runs else None

    def keys(self, experiment: str) -> dict[str, str]:
        """Every run that is there: key → id."""
        ids: dict[str, str] = {}
        token, twice = None, set[str]()
        while True:
            page = self.client.search_runs([self.experiment(experiment)], max_results=1_000, page_token=token)
            for run in page:
                key = run.data.tags.get(KEY)
                if key is not None and key in ids:  # born of a lost answer
                    twice.add(key)
                elif key is not None:
                    ids[key] = run.info.run_id
            token = page.token
            if not token:
                return ids | {key: found for key in twice if (found := self.find(experiment, key))}

    def params(self, run: str, params: Mapping[str, Any]) -> None:
        """Log parameters; one longer than MLflow takes is cut, and says so: `study.json` has the whole."""
        from mlflow.entities import Param

        cut = " … (whole in study.json)"
        texts = {safe(name): str(value) for name, value in params.items()}
        listed = [Param(k, v if len(v) <= LONGEST else v[: LONGEST - len(cut)] + cut) for k, v in texts.items()]
        for first in range(0, len(listed), 100):
            self.client.log_batch(run, params=listed[first : first + 100])

    def not_there(self, run: str, rows: Sequence[Row]) -> list[Row]:
        """Those of some metrics that a run does not have yet at their steps, whatever their times; of one that this
        process has made, all.
        """
        if run in self._tagged:
            return list(rows)
        there = {
            name: {metric.step for metric in self.client.get_metric_history(run, safe(name))}
            for name in dict.fromkeys(row.name for row in rows)
        }
        return [row for row in rows if row.step not in there[row.name]]

    def rows(self, run: str, rows: Iterable[Row]) -> None:
        """Log metrics with their own steps and times; those that are not finite become tags."""
        from mlflow.entities import Metric, RunTag

        rows = list(rows)
        finite = [Metric(safe(r.name), r.value, r.milliseconds, r.step) for r in rows if math.isfinite(r.value)]
        strange = [
            RunTag(f"nonfinite.{safe(r.name)}", f"{r.value} at {r.step}") for r in rows if not math.isfinite(r.value)
        ]
        for first in range(0, len(finite), BATCH):
            self.client.log_batch(run, metrics=finite[first : first + BATCH])
        if strange:
            self.client.log_batch(run, tags=strange)

    def tags(self, run: str, tags: Mapping[str, Any]) -> None:
        """Set tags; an empty one is taken away if it was there."""
        from mlflow.entities import RunTag

        words, known = _words(tags), self._tagged.get(run)
        if words:
            self.client.log_batch(run, tags=[RunTag(name, value) for name, value in words.items()])
        if empty := tags.keys() - words.keys():
            there = known if known is not None else set(self.client.get_run(run).data.tags)
            for name in empty & there:
                self.client.delete_tag(run, name)
        if known is not None:
            self._tagged[run] = (known | words.keys()) - empty

    def inputs(self, run: str, data: Mapping[str, Mapping[str, Any]], name: str) -> None:
        """Log the data sets that a run saw, by their hashes."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        contexts = {"train": "training", "test": "testing"}
        inputs = [
            DatasetInput(
                Dataset(f"{name} {part}", record["sha256"][:36], "code", "{}", profile=f'{{"rows": {record["rows"]}}}'),
                [InputTag("mlflow.data.context", contexts[part])],
            )
            for part, record in data.items()
        ]
        if inputs:
            self.client.log_inputs(run, datasets=inputs)

    def needs(self, run: str, name: str, place: str, model: str) -> None:
        """Log a trained model that a run works with: the exported one as its input where there is one, and a tag."""
        from mlflow.entities import LoggedModelInput

        if model:
            self.client.log_inputs(run, models=[LoggedModelInput(model)])
        self.tags(run, {f"genlib.needs.{name}": place})

    def retire(self, run: str, key: str) -> None:
        """Take a run's key from it, for another run to have from now on."""
        self.tags(run, {KEY: f"{key} until {time.time():.0f}", "genlib.replaced": "yes"})
        self._there.clear()

    def delete(self, run: str) -> None:
        """Delete a run, which MLflow can restore, and the model that it made."""
        outputs = self.client.get_run(run).outputs
        for output in outputs.model_outputs if outputs else ():
            self.client.delete_logged_model(output.model_id)
        self.client.delete_run(run)
        self._there.clear()

    def folder(self, run: str, folder: Path, *, leave_out: Sequence[str] = ()) -> None:
        """Log every file of a folder, under its own name."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in leave_out:
                inside = str(path.parent.relative_to(folder))
                self.client.log_artifact(run, str(path), None if inside == "." else inside)

    def status(self, run: str, status: str, ended: int | None) -> None:
        """Set how the run stands: `RUNNING`, or one of the ends."""
        if status == "RUNNING":
            self.client.update_run(run, status="RUNNING")
        else:
            self.client.set_terminated(run, status, end_time=ended)


def _make_whole(path: Path, artifacts: str | None) -> None:
    """Create a SQLite store aside and rename it: one whose creation was cut off could never be opened again."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    root, empty = artifacts or str(path.parent), _empty_store()
    try:
        if empty.exists():
            shutil.copyfile(empty, aside)
            with closing(sqlite3.connect(aside)) as database, database:
                database.execute("UPDATE experiments SET artifact_location = ?", (f"{root}/0",))
        else:
            SqlAlchemyStore(f"{SQLITE}{aside}", root).engine.dispose()
            with suppress(OSError):  # a home that cannot be written: the next storage takes as long
                empty.parent.mkdir(parents=True, exist_ok=True)
                copy = empty.with_name(f".{empty.name}.{uuid.uuid4().hex[:8]}")
                shutil.copyfile(aside, copy)
                os.replace(copy, empty)
        if not path.exists():
            os.replace(aside, path)
    finally:
        for left in path.parent.glob(f"{aside.name}*"):
            left.unlink()


def _empty_store() -> Path:
    """An empty store of this MLflow's, kept in the home: to make one from nothing takes it most of a minute."""
    import mlflow

    return Path.home() / ".cache" / "genlib" / f"mlflow-{mlflow.__version__}.db"


def _forget_addresses() -> None:
    """MLflow remembers where each run's files go for the life of the process, also what a cut answer said."""
    from mlflow.tracking._tracking_service import utils

    getattr(utils, "_artifact_repos_cache", {}).clear()


def _words(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them, without the empty ones."""
    return {name: str(value)[:5_000] for name, value in tags.items() if value not in (None, "")}


def safe(name: str) -> str:
    """A metric's or parameter's name as MLflow allows it."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]
