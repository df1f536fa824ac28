"""MLflow as a mirror of run directories: what it shows is read from them, and can be made anew.

Training never speaks to MLflow. One process per storage reads the directories and brings MLflow up to date; it is
started beside the first run, outlives a killed one until its status is settled and all is shown, and then ends. Without
`MLFLOW_TRACKING_URI` the store is a SQLite file inside the storage folder.

    process.py   the process: one at a time, when it looks, when it ends
    bring.py     one pass over the directories
    runs.py      a run directory as an MLflow run; sweeps.py, a sweep as the parent of its runs
    cursor.py    what is shown already
    store.py     MLflow itself: looked up before created, sent twice without harm
    model.py     the trained model, exported; serving.py, how it scores and samples when it is loaded
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from cluster import carrying, copies
from cluster.files import Damaged, read_json
from cluster.lease import is_alive
from cluster.project import ROOT
from cluster.secrets import holds_secret, scrubbed
from genlib import InputError

FOLDER, CURSOR, WAITING = ".mirror", "shown.json", "waiting"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Databases that MLflow keeps runs in."""
RUNS = "/#/experiments?workflowType=machine_learning"
"""The part of the UI that shows runs and charts; it opens on another one."""
HERE = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves, unless told otherwise."""
NOWHERE = "none"
"""The address that stands for no MLflow: nothing is mirrored."""
ORPHAN = """
import os, subprocess, sys
os.setsid()
os.nice(10)
try:
    with open("/proc/self/autogroup", "w") as file:
        file.write("10")
except OSError:
    pass
subprocess.Popen(sys.argv[1:])
"""
"""Starts a process that is nobody's child, and takes a tenth of a core at most from who trains, from its first import
on: with less, MLflow would show nothing for minutes. Where Linux shares the cores out among sessions, niceness counts
inside of one only, and the session is told too."""


def tracking_uri(storage: Path) -> str:
    """The server that the environment names, or the storage folder's own SQLite file; or `NOWHERE`."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage.absolute() / 'mlflow.db'}"
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    return uri


def mirror_folder(storage: Path) -> Path:
    """Where the process for this storage and this MLflow keeps its lease, its cursor and its log."""
    uri = tracking_uri(storage)
    if copies.is_copy(storage) and uri.startswith("sqlite:"):
        uri += f" on {socket.gethostname()}"  # every machine's copy of a storage has a file of its own
    return storage / FOLDER / hashlib.sha256(uri.encode()).hexdigest()[:12]


def ui_command(storage: Path) -> str:
    """What shows the mirror: a command, or the server's address."""
    uri = tracking_uri(storage)
    if uri == NOWHERE:
        return "nothing is mirrored to MLflow; experiments/mirror.py does it later"
    if uri.startswith("http"):
        return scrubbed(uri)
    shown = '"$MLFLOW_TRACKING_URI"' if holds_secret(uri) else uri
    return f"MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {shown}"


def ui_lines(storage: Path) -> dict[str, str]:
    """What shows the mirror, and the page to open: runs and charts. MLflow's front page is about conversations."""
    uri = tracking_uri(storage)
    if uri == NOWHERE:
        return {"compare": ui_command(storage)}
    return {"compare": ui_command(storage), "open": f"{scrubbed(uri) if uri.startswith('http') else HERE}{RUNS}"}


def refuse_unusable(storage: Path) -> str | None:
    """Raise for an address that answers with an error; return a sentence where nothing answers, which may change."""
    uri = tracking_uri(storage)
    if uri == NOWHERE:
        return None
    shown = scrubbed(uri)
    if "://" not in uri or uri.startswith("file:"):
        raise InputError(
            f"MLflow keeps no runs in a folder ({shown}): set MLFLOW_TRACKING_URI to sqlite:///… or http://…."
        )
    if not uri.startswith(("http://", "https://")):
        _refuse_unknown_database(uri)
        return None
    import requests

    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.post(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search",
            json={"max_results": 1}, timeout=5, headers=headers, auth=(user, password) if user and password else None,
        )  # fmt: skip
    except requests.RequestException:
        return f"MLflow at {shown} does not answer: runs are kept, and shown there once it does."
    if answer.status_code >= 400 or ("experiments" not in answer.text and answer.text.strip() != "{}"):
        reply = (
            f"{answer.status_code} {answer.reason}" if answer.status_code >= 400 else "something that is not MLflow's"
        )
        raise InputError(
            f"MLflow at {shown} answers with {reply}: mend its address or its credentials in "
            "MLFLOW_TRACKING_URI, or unset it to use a SQLite file in the storage."
        )
    return None


def _refuse_unknown_database(uri: str) -> None:
    """Raise for a kind of address that MLflow does not speak, or a database whose driver is not installed."""
    if uri.startswith("sqlite:///"):
        return
    kind = uri.partition("://")[0]
    if kind in {point.name for point in entry_points(group="mlflow.tracking_store")}:
        return  # a plug-in
    if kind.partition("+")[0] not in DATABASES:
        raise InputError(
            f"MLflow does not speak {kind}:// ({scrubbed(uri)}): set MLFLOW_TRACKING_URI to sqlite:///…, http://…, "
            f"or a database ({', '.join(DATABASES)})."
        )
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        raise InputError(f"the driver of {kind}:// is not installed ({error}): pip install it.") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(f"MLFLOW_TRACKING_URI is no address of a database ({scrubbed(uri)}).") from error


def in_a_line(error: Exception) -> str:
    """An error of MLflow's as it may be kept and shown: its clients repeat addresses, passwords and all."""
    first = str(error).splitlines()[0] if str(error) else ""
    return scrubbed(f"{type(error).__name__}: {first}")[:300]


def start_mirror(storage: Path, *, again: bool = False) -> None:
    """Start the process if none is alive here. It is nobody's child, so that it survives whoever started it; it ends by
    itself where one on another machine does the work.

    It is told the places of the user's own studies that this process was handed; a mirror that does not know them, and
    so cannot export their models, is replaced.

    Arguments:
        again: replace a process that is alive, and begin from nothing: everything is looked up and sent once more.
    """
    if tracking_uri(storage) == NOWHERE:
        return
    from genlib.own import adopted, provenance

    folder = mirror_folder(storage)
    origins = [provenance(kind) for kind in adopted().values()]
    own = [one.place for one in origins if one and one.place]
    if is_alive(folder / "lease", here=True) and not again and set(own) <= set(state_of(folder).get("own", ())):
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # -I and -P: nothing is imported from the folder that it starts in, which is of the storage.
    with open(folder / "log.txt", "a") as log:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", ORPHAN, sys.executable, "-P", "-m", "cluster.mirror", str(storage),
             *(["--again"] if again else []), *own],
            env=os.environ
            | {"MLFLOW_TRACKING_URI": tracking_uri(storage), "PYTHONPATH": path}
            | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, cwd=folder,
        )  # fmt: skip


def trouble(storage: Path) -> str | None:
    """A sentence where MLflow did not take what it was last sent; a mirror that has died is started again."""
    if tracking_uri(storage) == NOWHERE:
        return None
    folder = mirror_folder(storage)
    if not is_alive(folder / "lease"):
        start_mirror(storage)
    return _complaint(storage, state_of(folder))


def _complaint(storage: Path, state: dict[str, Any]) -> str | None:
    if not state.get("error"):
        return None
    shown = scrubbed(tracking_uri(storage))
    return f"MLflow at {shown} does not take it now ({state['error']}): the mirror goes on trying."


def wait_until_shown(storage: Path, *, seconds: float = 120, after: int = 0) -> str | None:
    """Wait until everything up to this moment is in MLflow; returns a sentence where that is not to be had now.

    Arguments:
        after: the epoch of a mirror whose passes do not count any more.
    """
    if tracking_uri(storage) == NOWHERE:
        return None
    since, folder = time.time(), mirror_folder(storage)
    started = 0.0
    with suppress(OSError):  # a storage that takes nothing: the next pass comes by itself
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WAITING).touch()
    while time.time() - since < seconds:
        with suppress(OSError):
            carrying.settle(folder, within=2)  # it may be another machine's process that does it
        state = state_of(folder)
        if state.get("began", 0) > since and state.get("epoch", 0) > after:
            return _complaint(storage, state)
        if not is_alive(folder / "lease") and time.time() - started > 10:
            start_mirror(storage)
            started = time.time()
        time.sleep(0.1)
    return f"the mirror is not done yet: see {folder / 'log.txt'}."


def state_of(folder: Path) -> dict[str, Any]:
    """What the mirror's process says of itself; empty where it has not yet."""
    try:
        return read_json(folder / "state.json")
    except (FileNotFoundError, Damaged):
        return {}
