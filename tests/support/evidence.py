"""What the fault tests look at: a run's journal, weights and metrics, and whether MLflow shows the same."""

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from cluster.files import Damaged, read_json
from cluster.journal import read_rows
from cluster.lease import is_alive
from cluster.mirror import FOLDER
from cluster.storage import run_folders
from genlib.checkpoint import checkpoints

SEED = int(os.environ.get("GENLIB_FAULT_SEED", "0"))
SCALE = float(os.environ.get("GENLIB_FAULTS", "1"))
"""Of every count of faults: 0.1 tries a tenth of them."""


def faults(count: int) -> int:
    """How many faults to try where the full number is `count`."""
    return max(1, round(count * SCALE))


def dice(*names: object) -> random.Random:
    """Random numbers that depend on the seed and on what they are for."""
    return random.Random(f"{SEED} {' '.join(map(str, names))}")


def replay(*names: object) -> str:
    """What to say in a failure, so that it can be had again."""
    return f"GENLIB_FAULT_SEED={SEED} {' '.join(map(str, names))}"


# -- a run directory ---------------------------------------------------------------------------------------------------


def journal_of(path: str | Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and values, in order."""
    return [(row["step"], row["metrics"]) for row in read_rows(Path(path) / "journal")]


def weights_of(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint, by name; model, average, optimizer and window."""
    state = torch.load(checkpoints(Path(path) / "checkpoints")[-1] / "state.pt", weights_only=True)
    return dict(_flat({name: part for name, part in state.items() if name != "cpu_seconds"}, ""))


def metrics_of(path: str | Path) -> dict[str, float]:
    """The default evaluation's metrics, but for the times."""
    return {
        name: value for name, value in read_json(Path(path) / "result.json")["metrics"].items() if "cpu" not in name
    }


def same_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether every tensor is equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_same_run(path: str | Path, undisturbed: str | Path, said: str) -> None:
    """A disturbed run has ended as the undisturbed one did: journal, weights, metrics."""
    assert read_json(Path(path) / "result.json")["status"] == "FINISHED", said
    steps = [step for step, _ in journal_of(path)]
    assert steps == [step for step, _ in journal_of(undisturbed)], f"{said}: steps {steps}"
    assert journal_of(path) == journal_of(undisturbed), said
    assert same_weights(weights_of(path), weights_of(undisturbed)), f"{said}: other weights"
    assert metrics_of(path) == metrics_of(undisturbed), said


def _flat(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{name}/{key}")
    elif isinstance(value, (list, tuple)):
        for place, part in enumerate(value):
            yield from _flat(part, f"{name}/{place}")
    elif value is not None:
        yield name, value if isinstance(value, torch.Tensor) else torch.tensor(value)


# -- MLflow ------------------------------------------------------------------------------------------------------------


def mlflow_runs(uri: str) -> tuple[Any, list[Any]]:
    """Every active run in MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [found.experiment_id for found in client.search_experiments()]
    return client, list(client.search_runs(experiments, max_results=1_000))


def mlflow_equals_journal(storage: Path, uri: str, said: str) -> None:
    """Assert that MLflow has one run per run directory, settled, with the journal's rows and no others."""
    client, shown = mlflow_runs(uri)
    keys = [run.data.tags["genlib.run"] for run in shown]
    assert len(keys) == len(set(keys)), f"{said}: several runs of one key: {sorted(keys)}"
    running = [run.data.tags["genlib.run"] for run in shown if run.info.status not in ("FINISHED", "KILLED", "FAILED")]
    assert not running, f"{said}: left running: {running}"
    by_place = {key.partition("/")[2]: run for key, run in zip(keys, shown, strict=True)}
    for path in run_folders(storage):
        run = by_place[str(path.relative_to(storage))]
        assert run.info.status == read_json(path / "result.json")["status"], f"{said}: {path}"
        rows: dict[str, list[tuple[int, float, int]]] = {}
        for row in read_rows(path / "journal"):
            for name, value in row["metrics"].items():
                rows.setdefault(name, []).append((row["step"], value, int(row["time"] * 1000)))
        for name, expected in rows.items():
            history = client.get_metric_history(run.info.run_id, name)
            found = sorted((m.step, m.value, m.timestamp) for m in history)
            assert found == expected, f"{said}: {path} {name}: {_difference(found, expected)}"
        final = read_json(path / "result.json")["metrics"]
        for name, value in final.items():
            values = [m.value for m in client.get_metric_history(run.info.run_id, name)]
            assert values == [value], f"{said}: {path} {name}: {values}, not {value} once"


def _difference(found: Sequence[object], expected: Sequence[object]) -> str:
    lost = [row for row in expected if row not in found]
    more = [row for row in found if row not in expected]
    return f"{len(lost)} lost {lost[:3]}, {len(more)} too many {more[:3]}"


# -- processes ---------------------------------------------------------------------------------------------------------


def mirror_folder(storage: str | Path) -> Path:
    """Where the mirror of a storage keeps its lease and its state; it speaks to one MLflow in these tests."""
    return next(Path(storage).glob(f"{FOLDER}/*"), Path(storage) / FOLDER / "none")


def mirror_pid(storage: str | Path) -> psutil.Process | None:
    """The living mirror's process, or None."""
    try:
        newest = max((mirror_folder(storage) / "lease").glob("*.json"), key=lambda path: path.name)
        process = psutil.Process(json.loads(newest.read_text())["pid"])
        return process if "cluster.mirror" in process.cmdline() and str(storage) in process.cmdline() else None
    except (ValueError, KeyError, FileNotFoundError, psutil.Error):
        return None


def kill(process: psutil.Process | subprocess.Popen[Any]) -> None:
    """SIGKILL, and wait until it is gone."""
    try:
        process.kill()
        process.wait(10)
    except (psutil.Error, subprocess.TimeoutExpired):
        pass


@contextmanager
def storage_with_its_mirror(path: Path) -> Iterator[Path]:
    """A storage whose mirror does not outlive the test."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        for _ in range(20):
            process = mirror_pid(path)
            if process is None:
                break
            kill(process)


def wait_for(condition: Callable[[], object], seconds: float, step: float = 0.01) -> bool:
    """Whether it came true in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if condition():
            return True
        time.sleep(step)
    return False


def mirror_said(storage: str | Path) -> str:
    """The end of the mirror's log, for a failure."""
    log = mirror_folder(storage) / "log.txt"
    return log.read_text()[-2_000:] if log.exists() else ""


def mirror_state(storage: str | Path) -> dict[str, Any]:
    """When the mirror last looked, and what went wrong."""
    try:
        return read_json(mirror_folder(storage) / "state.json")
    except (FileNotFoundError, Damaged):
        return {}


def nobody_writes(storage: str | Path) -> bool:
    """Whether no run of a storage has a living writer."""
    return not any(is_alive(path / "lease") for path in run_folders(Path(storage)))
